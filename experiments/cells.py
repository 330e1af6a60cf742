"""The cells of all studies in order of worth, and what is done about them: one after the other, at the lowest priority.

    python experiments/cells.py RUNS                                        # says what is finished and what is open
    python experiments/cells.py RUNS --run --at cifar10=CIFAR10 table=nasbench201.parquet
    python experiments/cells.py RUNS --run --only search --share 2/3        # every third cell, from the second

A cell is an arm and a seed of a study. It is finished when its table is under experiments/. Stop it whenever you like and start
it again: a study goes on from its checkpoints. Cells whose data nobody named are passed over. Each runs on one thread.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

HERE = Path(__file__).parent


class Study(NamedTuple):
    """Arms by seeds of one script.

    Args:
        name: Of its folder.
        setting: Which of its settings, where it has several.
        arms: The most telling first.
        seeds: How many.
        minutes: Of one core for a cell, measured; 0 where nobody has.
        options: What its script is called with besides; ``{NAME}`` stands for data.
        results: Where the tables of finished cells are.
    """

    name: str
    setting: str
    arms: Sequence[str]
    seeds: int
    minutes: float
    options: Sequence[str] = ()
    results: str = "results"


SPLIT = ("split", "both", "weak", "strong")
SHARED = ("shared-statistics", "shared-affine", "clean-branch")
MIXED = ("plain", "plain-exchange", "plain-cutmix", "plain-both")
PATHS = ("affine-free", "affine", "conditional", "conditional-shared", "sandwich")
MIXTURES = ("sandwich", "affine", "affine-free", "conditional")
GENERATORS = ("conditional", "sandwich", "conditional-2x", "shared")
CIFAR = ("--data", "{cifar10}")
TABLED = (*CIFAR, "--table", "{table}")

STUDIES = (  # the order is that of worth
    Study("search", "ranking", PATHS, 3, 13, TABLED),
    Study("search", "collapse", MIXTURES, 5, 2, TABLED),
    Study("search", "ranking-deeper", PATHS, 3, 0, TABLED),
    Study("split_claim", "cifar10-16px", SPLIT, 3, 0, CIFAR),
    Study("split_claim", "cifar10-16px", SHARED, 3, 0, CIFAR),
    Study("exchange", "cifar10-16px", MIXED, 3, 0, CIFAR),
    Study("stylize", "", ("reconstruction", "pilot-1", "pilot-3", "pilot-10"), 1, 1, ("--data", "{pictures}")),
    Study("stylize", "", ("adain", "sandwich-attached", "sandwich-detached"), 3, 1, ("--data", "{pictures}")),
    Study("generate", "digits", GENERATORS, 5, 12),
    Study("generate", "cifar10", ("conditional", "sandwich", "shared"), 2, 0, CIFAR),
    Study("split_claim", "cifar10-resnet20", (*SPLIT, *SHARED), 5, 144, CIFAR),
)


class Cell(NamedTuple):
    """An arm and a seed."""

    study: Study
    arm: str
    seed: int

    @property
    def label(self) -> str:
        """What it is called."""
        return " ".join(filter(None, (self.study.name, self.study.setting, f"{self.arm}-{self.seed}")))

    @property
    def table(self) -> Path:
        """Where its table is once it is finished."""
        return HERE / self.study.name / self.study.results / self.study.setting / f"{self.arm}-{self.seed}.csv"

    def lacks(self, data: Mapping[str, str]) -> list[str]:
        """Data that it needs and nobody named."""
        return [name for name in re.findall(r"{(\w+)}", " ".join(self.study.options)) if name not in data]

    def command(self, runs: Path, data: Mapping[str, str]) -> list[str]:
        """What runs it."""
        study, folder = self.study, "-".join(filter(None, (self.study.name, self.study.setting)))
        options = [option.format_map(data) for option in study.options]
        place = [*filter(None, [study.setting]), str(runs / folder)]
        chosen = ["--arms", self.arm, "--seeds", str(self.seed)]
        return [sys.executable, str(HERE / study.name / "study.py"), *place, *options, *chosen]


def cells(only: Sequence[str] = ()) -> Iterator[Cell]:
    """All of them, a seed of each arm before the next."""
    for study in STUDIES:
        if not only or study.name in only:
            yield from (Cell(study, arm, seed) for seed in range(study.seeds) for arm in study.arms)


def shared(found: Sequence[Cell], share: str) -> list[Cell]:
    """The part i of n, as ``i/n``."""
    match = re.fullmatch(r"(\d+)/(\d+)", share)
    if match is None or not 1 <= int(match[1]) <= int(match[2]):
        sys.exit(f"cells: --share {share}: a part of so many is needed, i/n with i from 1 to n. Try 1/2.")
    return list(found[int(match[1]) - 1 :: int(match[2])])


def told(found: Sequence[Cell], data: Mapping[str, str]) -> None:
    """Print the list."""
    for cell in found:
        lacking = cell.lacks(data)
        state = "finished" if cell.table.exists() else f"needs {' '.join(lacking)}" if lacking else "open"
        minutes = f"{cell.study.minutes:4.0f} min" if cell.study.minutes else "       ?"
        print(f"{minutes}  {state:16} {cell.label}")
    left = [cell.study.minutes for cell in found if not cell.table.exists()]
    print(f"{len(left)} of {len(found)} cells are open, {sum(left) / 60:.1f} core-hours of those that were measured")


def run(found: Sequence[Cell], runs: Path, data: Mapping[str, str]) -> bool:
    """Run what is open, and say whether all of it ended well; a cell that failed does not hinder the next."""
    failed = []
    for cell in found:
        if cell.table.exists() or cell.lacks(data):
            continue
        started = time.time()
        print(f"{time.strftime('%H:%M:%S')} {cell.label}", flush=True)
        done = subprocess.run(cell.command(runs, data), check=False, env={**os.environ, "OMP_NUM_THREADS": "1"})
        minutes = (time.time() - started) / 60
        ended = done.returncode == 0 and cell.table.exists()
        print(
            f"{time.strftime('%H:%M:%S')} {cell.label}: {'finished' if ended else 'failed'}, {minutes:.1f} min",
            flush=True,
        )
        failed += [] if ended else [cell.label]
    if failed:
        print(f"failed: {', '.join(failed)}", file=sys.stderr)
    return not failed


def main() -> None:
    """List the cells, or run them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", type=Path, help="folder of the runs, which stays between calls")
    parser.add_argument("--run", action="store_true", help="run what is open")
    parser.add_argument("--at", nargs="*", default=[], metavar="NAME=PATH", help="where data are: cifar10, table, ...")
    parser.add_argument("--only", nargs="*", default=[], choices=sorted({study.name for study in STUDIES}))
    parser.add_argument(
        "--share", default="1/1", metavar="I/N", help="a part of the list, for several machines or cores"
    )
    asked = parser.parse_args()
    data = dict(each.split("=", 1) for each in asked.at)
    found = shared(list(cells(asked.only)), asked.share)
    if not asked.run:
        told(found, data)
        return
    os.nice(19)
    sys.exit(0 if run(found, asked.runs, data) else 1)


if __name__ == "__main__":
    main()
