"""Whether two runs, or two tables, are the same to the last bit: what a change of the code must not change."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from renorm.evaluate import Results, read_results
from renorm.recipes.kind import recipe_of
from renorm.recipes.runs import options_at
from renorm.train import Run

TIMES = ("seconds",)  # of a record, which say nothing of what was computed


def unlike(a: Path, b: Path) -> list[str]:
    """What two runs, or two tables, differ in, a sentence each; nothing where they are equal.

    Of runs the options, the metrics but for the time they took, every tensor of the newest checkpoint and of the banks, and the
    tables are compared; of tables the rows and what they are of each image.

    Raises:
        FileNotFoundError: If one of them is not there.
        ValueError: If one is a run and the other a table, or a file is damaged.
    """
    if a.is_dir() != b.is_dir():
        raise ValueError(f"{a} and {b}: two runs or two tables are needed. Name a table of each, results.csv.")
    if not a.is_dir():
        return list(_tables(read_results(a), read_results(b)))
    return list(_runs(Run(a), Run(b)))


def _runs(a: Run, b: Run) -> Iterator[str]:
    about = a.config(), b.config()
    recipes = [recipe_of(each) for each in about]
    if recipes[0] != recipes[1]:
        yield f"recipe: {recipes[0]} and {recipes[1]}"
        return
    yield from _mappings("option", *map(options_at, about))
    yield from _metrics(a.history(), b.history())
    weights = a.load().weights, b.load().weights
    for name in weights[0].keys() | weights[1].keys():
        yield from _tensors(f"checkpoint, {name}", weights[0].get(name, {}), weights[1].get(name, {}))
    banks = [{path.name: path for path in sorted(run.banks.glob("*.safetensors"))} for run in (a, b)]
    yield from _banks(*banks)
    tables = [run.results.exists() for run in (a, b)]
    if tables[0] != tables[1]:
        yield f"table: only {(a if tables[0] else b).path} has one"
    elif all(tables):
        yield from _tables(read_results(a.results), read_results(b.results))


def _metrics(a: list[dict[str, Any]], b: list[dict[str, Any]]) -> Iterator[str]:
    if len(a) != len(b):
        yield f"metrics: {len(a)} records and {len(b)}"
    for number, (one, other) in enumerate(zip(a, b, strict=False), 1):
        yield from _mappings(
            f"metrics, record {number}",
            *({key: value for key, value in each.items() if key not in TIMES} for each in (one, other)),
        )


def _mappings(what: str, a: Mapping[str, Any], b: Mapping[str, Any]) -> Iterator[str]:
    for key in dict.fromkeys((*a, *b)):
        if repr(a.get(key)) != repr(b.get(key)):  # NaN is itself here
            yield f"{what}, {key}: {a.get(key)} and {b.get(key)}"


def _tensors(what: str, a: Mapping[str, Tensor], b: Mapping[str, Tensor]) -> Iterator[str]:
    if only := sorted(a.keys() ^ b.keys()):
        yield f"{what}: only one has {only[0]}" + (f" and {len(only) - 1} more" if len(only) > 1 else "")
    other = [key for key in a if key in b and not _same(a[key], b[key])]
    if other:
        first, second = a[other[0]], b[other[0]]
        by = f" by up to {(first.double() - second.double()).abs().max():.3g}" if first.shape == second.shape else ""
        yield f"{what}: {len(other)} of {len(a)} tensors differ, {other[0]} first{by}"


def _same(a: Tensor, b: Tensor) -> bool:
    """Bit for bit; NaN is itself."""
    alike = a.dtype == b.dtype and a.shape == b.shape
    return alike and torch.equal(a.contiguous().view(-1).view(torch.uint8), b.contiguous().view(-1).view(torch.uint8))


def _banks(a: Mapping[str, Path], b: Mapping[str, Path]) -> Iterator[str]:
    from safetensors.torch import load_file

    if only := sorted(a.keys() ^ b.keys()):
        yield f"banks: only one has {', '.join(only)}"
    for name in sorted(a.keys() & b.keys()):
        yield from _tensors(f"bank {name}", load_file(a[name]), load_file(b[name]))


def _tables(a: Results, b: Results) -> Iterator[str]:
    rows = [{(r.bank, r.shift, r.severity, r.measure): asdict(r) for r in each.rows} for each in (a, b)]
    if only := [key for key in (*rows[0], *rows[1]) if (key in rows[0]) != (key in rows[1])]:
        yield f"table: only one has {' '.join(map(str, only[0]))}" + (
            f" and {len(only) - 1} more" if len(only) > 1 else ""
        )
    for key, row in rows[0].items():
        if key in rows[1]:
            yield from _mappings(f"table, {' '.join(map(str, key))}", row, rows[1][key])
