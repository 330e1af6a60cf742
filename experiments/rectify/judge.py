"""Tables of what ``collect.py`` found: every fixed prior in hindsight, the rules that were tried, and ``prior="auto"``.

    python experiments/rectify/judge.py OUT... [--size 32] [--csv FILE]

Rules that choose a source weight are judged on the line between the priors that were run; ``auto`` itself is run. Intervals are
95 % bootstraps over cells and draws together, paired.
"""

from __future__ import annotations

import argparse
import csv
import math
from collections.abc import Callable
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor

from renorm import metrics
from renorm.adapt.evidence import auto_weight
from renorm.corruptions import STANDARD

Row = dict[str, Tensor]


def read(folder: Path, size: int, *, standard: bool = False) -> dict[tuple[str, int], Row]:
    """What was found by cell and draw, of those where auto was run too."""
    rows = {}
    for file in sorted(folder.glob(f"*.{size}.*.auto.safetensors")):
        cell, _, draw, *_ = file.name.split(".")
        found = folder / f"{cell}.{size}.{draw}.safetensors"
        if found.exists() and (not standard or cell.split("-")[0] in STANDARD):
            auto = load_file(file)
            rows[cell, int(draw)] = {**load_file(found), "auto": auto["hits"], "weight": auto["weight"]}
    return rows


def accuracy(row: Row) -> Tensor:
    """In percent, with each prior."""
    return 100 * row["hits"].double().mean(1)


def at(row: Row, size: int, weight: float) -> float:
    """The accuracy with a source weight, on the line between two priors that were run."""
    s = torch.where(row["priors"].isinf(), 1.0, row["priors"] / (row["priors"] + size)).double()
    y = accuracy(row)
    j = int(torch.searchsorted(s, torch.tensor(weight, dtype=s.dtype)).clamp(1, len(s) - 1))
    a = float((weight - s[j - 1]) / (s[j] - s[j - 1]))
    return float((1 - a) * y[j - 1] + a * y[j])


def james_stein(row: Row, size: int) -> float:
    """Noise over gap, of all means together."""
    gap, noise = row["evidence"][:, 0].mean(), row["evidence"][:, 1].mean()
    return float((noise / gap).clamp(max=1)) if noise.isfinite() else 1.0


def entropy(row: Row, size: int) -> float:
    """The weight with the most certain outputs."""
    p = row["outputs"].double()
    return weight_of(row, size, -(p * p.clamp(min=1e-12).log()).sum(2).mean(1))


def information(row: Row, size: int) -> float:
    """The weight with the most mutual information: certain outputs, but of all classes."""
    p = row["outputs"].double()
    mean = p.mean(1)
    spread = -(mean * mean.clamp(min=1e-12).log()).sum(1)
    return weight_of(row, size, -(p * p.clamp(min=1e-12).log()).sum(2).mean(1) - spread)


def weight_of(row: Row, size: int, cost: Tensor) -> float:
    """The weight of the prior with the least cost."""
    prior = float(row["priors"][int(cost.argmin())])
    return 1.0 if math.isinf(prior) else prior / (prior + size)


def rule(row: Row, size: int) -> float:
    """The rule of the library, on the line between priors: what running it must come close to."""
    return chosen(row["evidence"][:, 0], row["evidence"][:, 1], size)


def by_variance(row: Row, size: int) -> float:
    """The rule with standard deviations compared in place of means."""
    return chosen(row["evidence"][:, 2], row["evidence"][:, 3], size)


def chosen(gap: Tensor, noise: Tensor, size: int) -> float:
    """The library's weight for gaps and noises; one image has no noise to tell chance by."""
    return auto_weight(gap, noise if size > 1 else torch.full_like(gap, torch.inf), size)


RULES: dict[str, Callable[[Row, int], float]] = {
    "James-Stein on means": james_stein,
    "least entropy": entropy,
    "most mutual information": information,
    "auto, by standard deviations": by_variance,
    "auto, on the line": rule,
}


def table(rows: dict[tuple[str, int], Row], size: int) -> list[list[str]]:
    """Method, mean accuracy, difference to the best fixed prior and to prior 64, and the worst cell's change."""
    fixed = torch.stack([accuracy(row) for row in rows.values()])
    priors = [float(p) for p in next(iter(rows.values()))["priors"]]
    source, best, usual = fixed[:, -1], int(fixed.mean(0).argmax()), priors.index(64)
    columns = {f"prior {p:g}": fixed[:, i] for i, p in enumerate(priors[:-1])} | {"source": source}
    for name, choose in RULES.items():
        columns[name] = torch.tensor([at(row, size, choose(row, size)) for row in rows.values()])
    columns["auto"] = torch.stack([100 * row["auto"].double().mean() for row in rows.values()])
    lines = []
    for name, y in columns.items():
        apart = [metrics.bootstrap(y - fixed[:, other], 0) for other in (best, usual)]
        worst, cell = worst_cell(rows, y - source)
        lines.append([name, f"{y.mean():.2f}", *(f"{each:+.2f}" for each in apart), f"{worst:+.1f} {cell}"])
    lines.append(["oracle of each cell", f"{oracle(rows, fixed):.2f}", "", "", ""])
    return lines


def worst_cell(rows: dict[tuple[str, int], Row], change: Tensor) -> tuple[metrics.Interval, str]:
    """The cell that lost most against the source, averaged over draws, with an interval over its images."""
    cells: dict[str, list[float]] = {}
    for (cell, _), value in zip(rows, change.tolist(), strict=True):
        cells.setdefault(cell, []).append(value)
    cell = min(cells, key=lambda name: sum(cells[name]) / len(cells[name]))
    return metrics.over_runs(cells[cell]), cell


def oracle(rows: dict[tuple[str, int], Row], fixed: Tensor) -> float:
    """The mean over cells of the best fixed prior of each."""
    cells: dict[str, list[Tensor]] = {}
    for (cell, _), y in zip(rows, fixed, strict=True):
        cells.setdefault(cell, []).append(y)
    return float(torch.stack([torch.stack(found).mean(0).max() for found in cells.values()]).mean())


HEADER = ["method", "accuracy", "to the best fixed prior", "to prior 64", "worst cell against the source"]


def main() -> None:
    """Print a table per folder."""
    parser = argparse.ArgumentParser()
    parser.add_argument("folders", type=Path, nargs="+")
    parser.add_argument("--size", type=int, default=32)
    parser.add_argument("--standard", action="store_true", help="the 15 standard corruptions only")
    parser.add_argument("--csv", type=Path)
    given = parser.parse_args()
    lines = []
    for folder in given.folders:
        rows = read(folder, given.size, standard=given.standard)
        cells, draws = {cell for cell, _ in rows}, {draw for _, draw in rows}
        weights = torch.stack([row["weight"] for row in rows.values()])
        print(
            f"\n{folder.name}: {len(cells)} cells, {len(draws)} draws, n = {given.size}, auto's mean weight "
            f"{weights.mean():.2f}, kept the source in {int((weights == 1).sum())} of {len(rows)}"
        )
        for line in table(rows, given.size):
            print("  ".join(text.ljust(width) for text, width in zip(line, (30, 8, 24, 24, 0), strict=True)))
            lines.append([folder.name, str(given.size), str(len(cells)), str(len(draws)), *line])
    if given.csv:
        with given.csv.open("w", newline="") as file:
            csv.writer(file).writerows([["network", "n", "cells", "draws", *HEADER], *lines])


if __name__ == "__main__":
    main()
