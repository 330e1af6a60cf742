"""Studies of several arms: each arm and seed is a run of its own, and what is finished is kept, so that a study goes on."""

from __future__ import annotations

import argparse
import csv
import os
import subprocess
import sys
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean

from renorm.metrics import over_runs

COLUMNS = ("bank", "shift", "severity", "accuracy", "low", "high", "nll", "ece", "images", "seed")
VIEWS = ("clean", "weak", "strong")
CORRUPTED = "corrupted"

Arm = tuple[str, str]  # and a bank of it
Table = Mapping[Arm, Mapping[int, Mapping[str, float]]]  # arm and bank, seed, column: accuracy in %


@dataclass(frozen=True)
class Study:
    """What a study trains and evaluates.

    Args:
        folder: Where tables of finished runs go: ``results/SETTING/ARM-SEED.csv``.
        arms: Options of ``renorm train`` that make each arm, the most telling first, so that a study cut short says most.
        settings: Options of all arms.
        evaluate: Options of ``renorm evaluate`` for an arm of a setting.
    """

    folder: Path
    arms: Mapping[str, Sequence[str]]
    settings: Mapping[str, Sequence[str]]
    evaluate: Callable[[str, str], Sequence[str]]

    def main(self, description: str | None) -> None:
        """Run what is not finished, seed by seed."""
        parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
        parser.add_argument("setting", choices=self.settings)
        parser.add_argument("out", type=Path, help="folder of the runs")
        parser.add_argument("--data", help="CIFAR-10, as renorm train takes it")
        parser.add_argument("--seeds", type=int, nargs="+", default=[0])
        parser.add_argument("--arms", nargs="+", choices=self.arms, default=list(self.arms))
        parser.add_argument("--jobs", type=int, default=1, help="runs at a time")
        parser.add_argument("--num-images", type=int, default=0, help="test images; 0 for all")
        options = parser.parse_args()
        cells = [(seed, arm) for seed in options.seeds for arm in options.arms]
        with ThreadPoolExecutor(options.jobs) as pool:
            for _ in pool.map(lambda cell: self.work(*cell, options), cells):
                pass

    def work(self, seed: int, arm: str, options: argparse.Namespace) -> None:
        """Train and evaluate one arm with one seed, or go on with it."""
        results = self.folder / "results" / options.setting / f"{arm}-{seed}.csv"
        if results.exists():
            return
        run = options.out / f"{arm}-{seed}"
        threads = max(1, (os.cpu_count() or 1) // options.jobs)
        train = ["train", "--out", str(run), "--table-images", "0"]
        if (run / "config.json").exists():
            renorm(*train, "--resume", threads=threads)
        else:
            data = ["--data", options.data] if options.data else []
            settings = [*self.settings[options.setting], *data, *self.arms[arm]]
            renorm(*train, *settings, "--seed", str(seed), threads=threads)
        images = ["--num-images", str(options.num_images)]
        renorm("evaluate", str(run), *self.evaluate(options.setting, arm), *images, threads=threads)
        keep(run / "results.csv", results)


def renorm(*arguments: str, threads: int) -> None:
    """Run a command of renorm, on so many threads unless the environment says how many."""
    environment = {"OMP_NUM_THREADS": str(threads)} | os.environ
    subprocess.run([sys.executable, "-m", "renorm", *arguments], check=True, env=environment)


def keep(table: Path, results: Path) -> None:
    """Copy what summaries read; the run's own table also says how it was made."""
    with table.open() as file:
        rows = [{name: row[name] for name in COLUMNS} for row in csv.DictReader(file)]
    results.parent.mkdir(parents=True, exist_ok=True)
    with results.open("w") as file:
        writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def read(folder: Path) -> Table:
    """Accuracies of all finished runs; corruptions and their severities averaged."""
    table: defaultdict[Arm, dict[int, dict[str, float]]] = defaultdict(dict)
    for path in sorted(folder.glob("*.csv")):
        arm, _, seed = path.stem.rpartition("-")
        cells: defaultdict[str, defaultdict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
        with path.open() as file:
            for row in csv.DictReader(file):
                column = CORRUPTED if int(row["severity"]) else row["shift"]
                cells[row["bank"]][column].append(100 * float(row["accuracy"]))
        for bank, found in cells.items():
            table[arm, bank][int(seed)] = {column: fmean(values) for column, values in found.items()}
    return table


def differences(table: Table, a: Arm, b: Arm, columns: Sequence[str]) -> dict[str, list[float]]:
    """Of each column, over the seeds that both have."""
    seeds = sorted(set(table.get(a, {})) & set(table.get(b, {})))
    return {column: [table[a][s][column] - table[b][s][column] for s in seeds] for column in columns}


def shown(values: Sequence[float], sign: bool = False) -> str:
    """Mean ± half of the interval over seeds (Student's t); one seed has none."""
    text = "+.1f" if sign else ".1f"
    if len(values) == 1:
        return f"{values[0]:{text}}"
    interval = over_runs(values)
    return f"{interval.value:{text}} ± {(interval.high - interval.low) / 2:.1f}"


def markdown(
    table: Table, arms: Sequence[str], questions: Mapping[str, tuple[Arm, Arm]], columns: Sequence[str]
) -> str:
    """Two tables: accuracies of all arms and banks, and the answers to questions, as differences paired by seed."""
    head = "| " + " | ".join(columns) + " |\n|---|---|" + "---|" * len(columns)
    lines = [f"| arm | bank {head}"]
    for arm in arms:
        for (name, bank), seeds in table.items():
            if name == arm:
                cells = [shown([found[c] for found in seeds.values()]) for c in columns]
                lines.append(f"| {arm} ({len(seeds)}) | {bank} | {' | '.join(cells)} |")
    lines += ["", f"| difference in points | seeds {head}"]
    for question, (a, b) in questions.items():
        found = differences(table, a, b, columns)
        if found[columns[0]]:
            cells = [shown(found[c], sign=True) for c in columns]
            lines.append(f"| {question} | {len(found[columns[0]])} | {' | '.join(cells)} |")
    return "\n".join(lines)
