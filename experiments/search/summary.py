"""Tables of a setting: how each way orders cells and what measuring through each path changes; or when searches collapse.

python experiments/search/summary.py ranking
"""

from __future__ import annotations

import argparse
import csv
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor

from renorm.metrics import Interval, better_third, over_runs, rank_agreement, rank_difference

RESULTS = Path(__file__).parent / "results"
WAYS = ("trained", "recalibrated:16", "recalibrated:64", "recalibrated:256", "recalibrated", "batch", "params")
COLLAPSED = 5  # edges without parameters

Rows = Sequence[Mapping[str, str]]


def tables(setting: str) -> dict[tuple[str, str], Rows]:
    """The rows of each arm and seed."""
    found = {}
    for path in sorted((RESULTS / setting).glob("*.csv")):
        arm, _, seed = path.stem.rpartition("-")
        with path.open() as file:
            found[arm, seed] = list(csv.DictReader(file))
    return found


def column(rows: Rows, name: str) -> Tensor:
    """The numbers of a column."""
    return torch.tensor([float(row[name]) for row in rows])


def shown(interval: Interval, sign: str = "") -> str:
    """A number with its interval."""
    return f"{interval.value:{sign}.2f} [{interval.low:{sign}.2f}, {interval.high:{sign}.2f}]"


def ranking(found: Mapping[tuple[str, str], Rows]) -> None:
    """A line for each arm, seed and way, with intervals over cells; then what measuring changes."""
    print("| arm, seed | way | mean accuracy | tau, all | tau, better third | best cell |\n|---|---|---|---|---|---|")
    for (arm, seed), rows in found.items():
        truth = column(rows, "truth")
        third = better_third(truth)
        for way in (each for each in WAYS if each in rows[0]):
            values = column(rows, way)
            mean = "" if way == "params" else f"{100 * values.mean():.1f} %"
            taus = [shown(rank_agreement(values[m], truth[m]).kendall) for m in (torch.ones_like(third), third)]
            print(f"| {arm}, {seed} | {way} | {mean} | {taus[0]} | {taus[1]} | {truth[values.argmax()]:.2f} % |")
    print(
        "\n| arm, seed | tau, recalibrated less trained | better third | bank of a path from the supernet's |\n|---|---|---|---|"
    )
    changes: dict[str, list[float]] = {}
    for (arm, seed), rows in found.items():
        after, before, truth = (column(rows, name) for name in ("recalibrated", "trained", "truth"))
        third = better_third(truth)
        taus = [rank_difference(after[m], before[m], truth[m]).kendall for m in (torch.ones_like(third), third)]
        changes.setdefault(arm, []).append(taus[0].value)
        words = [shown(tau, "+") for tau in taus]
        print(f"| {arm}, {seed} | {words[0]} | {words[1]} | {column(rows, 'moved').mean():.2f} sd |")
    for arm, values in changes.items():
        if len(values) > 1:
            print(f"| {arm}, {len(values)} seeds | {shown(over_runs(values), '+')} | | |")


def collapse(found: Mapping[tuple[str, str], Rows]) -> None:
    """A line for each arm and seed: its last cell, and when most of its edges had no parameters for good."""
    last = next(iter(found.values()))[-1]["step"]
    print(
        f"| arm, seed | steps | edges without parameters | skips | in the table | {COLLAPSED} edges for good from step |"
    )
    print("|---|---|---|---|---|---|")
    ends: dict[str, dict[str, float]] = {}
    for (arm, seed), rows in found.items():
        end = rows[-1]
        ends.setdefault(arm, {})[seed] = float(end["accuracy"])
        words = [end[name] for name in ("step", "free_edges", "skips")]
        print(f"| {arm}, {seed} | {' | '.join(words)} | {float(end['accuracy']):.2f} % | {collapsed_from(rows)} |")
    print(
        f"\n| arm | seeds | accuracy in the table after {last} steps | less affine, paired by seed |\n|---|---|---|---|"
    )
    for arm, by_seed in ends.items():
        paired = [by_seed[seed] - ends["affine"][seed] for seed in by_seed if seed in ends.get("affine", {})]
        words = [of_seeds(list(by_seed.values())), "" if arm == "affine" else of_seeds(paired, "+")]
        print(f"| {arm} | {len(by_seed)} | {' | '.join(words)} |")


def of_seeds(values: Sequence[float], sign: str = "") -> str:
    """The mean of several seeds with its interval, or the number of one."""
    return shown(over_runs(values), sign) if len(values) > 1 else "".join(f"{value:{sign}.2f}" for value in values)


def collapsed_from(rows: Rows) -> str:
    """The first step from which on the cell had so few parameters."""
    step = "not"
    for row in reversed(rows):
        if int(row["free_edges"]) < COLLAPSED:
            break
        step = row["step"]
    return step


def main() -> None:
    """Print the tables of a setting."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("setting", choices=sorted(path.name for path in RESULTS.glob("*")))
    found = tables(parser.parse_args().setting)
    (ranking if "truth" in next(iter(found.values()))[0] else collapse)(found)


if __name__ == "__main__":
    main()
