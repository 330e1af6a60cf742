"""Tables of the ranking: how each way orders cells, and what measuring through each path changes.

python experiments/search/summary.py
"""

from __future__ import annotations

import csv
from pathlib import Path

import torch
from torch import Tensor

from renorm.metrics import better_third, rank_agreement, rank_difference

RESULTS = Path(__file__).parent / "results"
WAYS = ("trained", "recalibrated", "batch", "params")


def columns(path: Path) -> dict[str, Tensor]:
    """The numbers of one arm and seed."""
    with path.open() as file:
        rows = list(csv.DictReader(file))
    return {name: torch.tensor([float(row[name]) for row in rows]) for name in ("truth", "moved", *WAYS)}


def main() -> None:
    """Print a line for each arm, seed and way."""
    print("| arm, seed | way | mean accuracy | tau, all | tau, better third |\n|---|---|---|---|---|")
    changes = []
    for path in sorted(RESULTS.glob("*.csv")):
        found = columns(path)
        truth, third = found["truth"], better_third(found["truth"])
        for way in WAYS:
            mean = "" if way == "params" else f"{100 * found[way].mean():.1f} %"
            taus = [rank_agreement(found[way][m], truth[m]).kendall for m in (torch.ones_like(third), third)]
            print(f"| {path.stem} | {way} | {mean} | {taus[0]:.2f} | {taus[1]:.2f} |")
        change = rank_difference(found["recalibrated"], found["trained"], truth).kendall
        changes.append(f"| {path.stem} | {change:.2f} | {found['moved'].mean():.2f} sd |")
    print("\n| arm, seed | tau, recalibrated less trained | bank of a path from the supernet's |\n|---|---|---|")
    print("\n".join(changes))


if __name__ == "__main__":
    main()
