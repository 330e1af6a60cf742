"""What a page shows of a run: its configuration, its table, its training and its banks."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import combinations, zip_longest
from pathlib import Path
from typing import Any

from renorm.banks import Bank
from renorm.evaluate import Results, read_results
from renorm.train import Run

OptionsOf = Callable[[Mapping[str, Any]], dict[str, Any]]
"""Gives all options of a run from its config.json, defaults where it is older than one."""

IRRELEVANT = (
    "seed",
    "download",
    "num_workers",
    "tensorboard",
    "trackers",
    "save_every",
    "table_images",
)  # but for chance


@dataclass(frozen=True)
class Record:
    """A finished run.

    Args:
        name: What the page calls it.
        about: Its config.json.
        results: Its table bank x shift.
        config: All its options by name.
        history: The records of its metrics.jsonl.
        banks: Of its branches, by name.
        data: Where the images of its table are now, if not where the table says.
        path: Its folder.
    """

    name: str
    about: Mapping[str, Any]
    results: Results
    config: Mapping[str, Any] = field(default_factory=dict)
    history: Sequence[Mapping[str, Any]] = ()
    banks: Mapping[str, Bank] = field(default_factory=dict)
    data: str | None = None
    path: Path | None = None

    @property
    def seed(self) -> int | None:
        """Of its training."""
        return self.config.get("seed")

    @property
    def kind(self) -> str:
        """The same for runs that differ by chance only."""
        return json.dumps({key: value for key, value in self.config.items() if key not in IRRELEVANT}, sort_keys=True)

    def distances(self) -> dict[tuple[str, str], dict[str, float]]:
        """Of each pair of banks, how far the second is from the first at each site."""
        return {pair: self.banks[pair[0]].distance(self.banks[pair[1]]) for pair in combinations(self.banks, 2)}


def options_in(about: Mapping[str, Any]) -> dict[str, Any]:
    """The options that a run's config.json has."""
    return about.get("config", {})


def read_record(path: Path, options: OptionsOf = options_in, data: str | None = None) -> Record:
    """Read a run's folder.

    Args:
        path: The folder.
        options: Completes its options.
        data: Where the images of its table are now, if not where the table says.

    Raises:
        FileNotFoundError: If it is no run, or has no table.
        ValueError: If the table or a bank is damaged.
    """
    run = Run(path)
    about, results = run.config(), read_results(run.results)
    if not results.rows:
        raise ValueError(
            f"{run.results} has no rows: a table bank x shift is needed. Make it with `renorm evaluate {path}`."
        )
    config = options(about)
    order = list(config.get("branches") or ())
    files = sorted(run.banks.glob("*.safetensors"), key=lambda file: (*_place(file.stem, order), file.stem))
    banks = {file.stem: Bank.load(file) for file in files}
    return Record(path.name, about, results, config, run.history(), banks, data, path)


def _place(name: str, order: Sequence[str]) -> tuple[int]:
    return (order.index(name) if name in order else len(order),)


def read_records(paths: Sequence[Path], options: OptionsOf = options_in) -> list[Record]:
    """Read several runs, each under a name that tells it from the others.

    Args:
        paths: Their folders.
        options: Completes the options of each.

    Raises:
        FileNotFoundError: If one is no run, or has no table.
        ValueError: If one is named twice, or damaged.
    """
    whole = [path.resolve() for path in paths]
    twice = [str(path) for path, each in zip(paths, whole, strict=True) if whole.count(each) > 1]
    if twice:
        raise ValueError(f"{twice[0]} is given twice: each run is compared with other ones. Name it once.")
    return [
        replace(read_record(path, options), name=name) for path, name in zip(paths, distinct_names(whole), strict=True)
    ]


def distinct_names(paths: Sequence[Path]) -> list[str]:
    """The shortest ends of paths that differ.

    Example:
        >>> distinct_names([Path("/a/split/run"), Path("/a/shared/run")]), distinct_names([Path("/a/x"), Path("/b/y")])
        (['split/run', 'shared/run'], ['x', 'y'])
    """
    ends = (
        ["/".join(path.parts[-depth:]) for path in paths] for depth in range(1, max(len(p.parts) for p in paths) + 1)
    )
    return next(found for found in ends if len(set(found)) == len(found))


@dataclass(frozen=True)
class Side:
    """Runs that differ by their seed only, in its order."""

    name: str
    records: tuple[Record, ...]

    @property
    def by_seed(self) -> dict[int | None, Record]:
        """Each run under its seed."""
        return {record.seed: record for record in self.records}


def sides(records: Sequence[Record]) -> list[Side]:
    """Runs of one configuration together, in the order they were given; apart if they even share a seed."""
    found = []
    for kind in dict.fromkeys(record.kind for record in records):
        group = sorted(
            (r for r in records if r.kind == kind), key=lambda record: (record.seed is None, record.seed or 0)
        )
        if len({record.seed for record in group}) < len(group):
            found += [Side(record.name, (record,)) for record in group]
        else:
            found.append(Side(_common([record.name for record in group]), tuple(group)))
    return _distinct(found)


def _common(given: Sequence[str]) -> str:
    """What names share at their beginning, without the number of the seed; else the first of them."""
    if len(given) == 1:
        return given[0]
    first, last = min(given), max(given)
    same = next(i for i, pair in enumerate(zip_longest(first, last)) if pair[0] != pair[1])
    return re.sub(r"[-_./ ]*(seed)?[-_./ ]*\d*$", "", first[:same]) or given[0]


def _distinct(found: list[Side]) -> list[Side]:
    """The same under names that differ."""
    taken = [side.name for side in found]
    return [replace(s, name=s.records[0].name) if taken.count(s.name) > 1 else s for s in found]


def differing(records: Sequence[Record]) -> dict[str, list[Any]]:
    """Options that are not the same in all runs, with the value of each."""
    options = dict.fromkeys(name for record in records for name in record.config)
    found = {name: [_listed(record.config.get(name)) for record in records] for name in options}
    return {name: each for name, each in found.items() if any(value != each[0] for value in each)}


def _listed(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value
