"""Tables of the style networks: each arm over pairs and seeds, and what changes against AdaIN, paired.

python experiments/stylize/summary.py
"""

from __future__ import annotations

import csv
from collections import defaultdict
from pathlib import Path

import torch
from torch import Tensor

from renorm.metrics import bootstrap, paired_difference

RESULTS = Path(__file__).parent / "results"
BASE = "adain"


def columns(path: Path) -> dict[str, Tensor]:
    """The numbers of one arm and seed."""
    with path.open() as file:
        rows = list(csv.DictReader(file))
    return {name: torch.tensor([float(row[name]) for row in rows]) for name in rows[0]}


def read(folder: Path) -> dict[str, list[dict[str, Tensor]]]:
    """The tables of each arm, a seed each."""
    found = defaultdict(list)
    for path in sorted(folder.glob("*.csv")):
        found[path.stem.rpartition("-")[0]].append(columns(path))
    return found


def mean(tables: list[dict[str, Tensor]], name: str) -> Tensor:
    """Of each pair the mean over seeds."""
    return torch.stack([table[name] for table in tables]).mean(0)


def main() -> None:
    """Print a line for each arm, with 95 % intervals over pairs of means over seeds; then differences from AdaIN's."""
    found = read(RESULTS)
    names = [name for name in next(iter(found.values()))[0] if name not in ("photo", "painting")]
    print(f"| arm | seeds | {' | '.join(names)} |\n|---|---|{'---|' * len(names)}")
    for arm, tables in found.items():
        cells = [bootstrap([mean(tables, name)]) for name in names]
        numbers = [f"{each.value:.3f} ({each.low:.3f} to {each.high:.3f})" for each in cells]
        print(f"| {arm} | {len(tables)} | {' | '.join(numbers)} |")
    others = [arm for arm in found if BASE in found and arm != BASE and not arm.startswith("pilot")]
    print(f"\n| arm less {BASE} | {' | '.join(names)} |\n|---|{'---|' * len(names)}")
    for arm in others:
        pairs = [paired_difference(mean(found[arm], name), mean(found[BASE], name)) for name in names]
        print(f"| {arm} | {' | '.join(f'{each.value:+.3f} ({each.low:+.3f} to {each.high:+.3f})' for each in pairs)} |")


if __name__ == "__main__":
    main()
