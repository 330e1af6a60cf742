"""Studies of several arms: each arm and seed is a run of its own, and what is finished is kept, so that a study goes on."""

from __future__ import annotations

import argparse
import csv
import io
import os
import subprocess
import sys
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from statistics import fmean

from renorm.evaluate import Row, read_results
from renorm.files import write_atomically
from renorm.metrics import over_runs

VIEWS = ("clean", "weak", "strong")
CORRUPTED = "corrupted"

Arm = tuple[str, str]  # and a bank of it
Table = Mapping[Arm, Mapping[int, Mapping[str, float]]]  # arm and bank, seed, column: accuracy in %


@dataclass(frozen=True)
class Cell:
    """One run of a study.

    Args:
        setting: Which network, schedule and evaluation.
        arm: Which of the things compared.
        seed: Of everything random.
        data: Images, as ``renorm train`` takes them; None where the setting says.
    """

    setting: str
    arm: str
    seed: int
    data: str | None = None


@dataclass(frozen=True)
class Study:
    """What a study trains and evaluates.

    Args:
        folder: Where tables of finished runs go: ``results/SETTING/ARM-SEED.csv``.
        arms: Things compared, the most telling first, so that a study cut short says most.
        settings: Networks and schedules to choose from.
        train: Options of ``renorm train`` for a run, but for data and seed.
        evaluate: Options of ``renorm evaluate`` for a run, of one call or several, whose tables are joined.
    """

    folder: Path
    arms: Sequence[str]
    settings: Sequence[str]
    train: Callable[[Cell], Sequence[str]]
    evaluate: Callable[[Cell], Sequence[Sequence[str]]]

    def main(self, description: str | None) -> None:
        """Run what is not finished, seed by seed."""
        parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
        parser.add_argument("setting", choices=self.settings)
        parser.add_argument("out", type=Path, help="folder of the runs")
        parser.add_argument("--data", help="images, as renorm train takes them")
        parser.add_argument("--seeds", type=int, nargs="+", default=[0])
        parser.add_argument("--arms", nargs="+", choices=self.arms, default=list(self.arms))
        parser.add_argument("--jobs", type=int, default=1, help="runs at a time")
        options = parser.parse_args()
        cells = [Cell(options.setting, arm, seed, options.data) for seed in options.seeds for arm in options.arms]
        threads = max(1, (os.cpu_count() or 1) // options.jobs)
        with ThreadPoolExecutor(options.jobs) as pool:
            for _ in pool.map(lambda cell: self.work(cell, options.out, threads), cells):
                pass

    def work(self, cell: Cell, out: Path, threads: int) -> None:
        """Train and evaluate one arm with one seed, or go on with it."""
        results = self.folder / "results" / cell.setting / f"{cell.arm}-{cell.seed}.csv"
        if results.exists():
            return
        run = out / f"{cell.arm}-{cell.seed}"
        train = ["train", "--out", str(run), "--table-images", "0"]
        if (run / "config.json").exists():
            renorm(*train, "--resume", threads=threads)
        else:
            data = ["--data", cell.data] if cell.data else []
            renorm(*train, *self.train(cell), *data, "--seed", str(cell.seed), threads=threads)
        tables = []
        for call, options in enumerate(self.evaluate(cell)):
            tables.append(run / f"evaluated{call}.csv")
            if not tables[-1].exists():
                renorm("evaluate", str(run), *options, "--out", str(tables[-1]), threads=threads)
        keep(tables, results)


def renorm(*arguments: str, threads: int) -> None:
    """Run a command of renorm, on so many threads unless the environment says how many."""
    environment = {"OMP_NUM_THREADS": str(threads)} | os.environ
    subprocess.run([sys.executable, "-m", "renorm", *arguments], check=True, env=environment)


def keep(tables: Sequence[Path], results: Path) -> None:
    """Put the rows of tables into one that summaries read; the run's own tables also say how they were made."""
    rows = [row for table in tables for row in read_results(table).rows]
    text = io.StringIO()
    writer = csv.DictWriter(text, [each.name for each in fields(Row)], lineterminator="\n")
    writer.writeheader()
    writer.writerows(map(asdict, rows))
    results.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(results, text.getvalue().encode())


def read(folder: Path) -> Table:
    """Accuracies of all finished runs; corruptions and their severities averaged."""
    table: defaultdict[Arm, dict[int, dict[str, float]]] = defaultdict(dict)
    for path in sorted(folder.glob("*.csv")):
        arm, _, seed = path.stem.rpartition("-")
        cells: defaultdict[str, defaultdict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
        for row in read_results(path).only():
            cells[row.bank][CORRUPTED if row.severity else row.shift].append(100 * row.value)
        for bank, found in cells.items():
            table[arm, bank][int(seed)] = {column: fmean(values) for column, values in found.items()}
    return table


def differences(table: Table, a: Arm, b: Arm, columns: Sequence[str]) -> dict[str, list[float]]:
    """Of each column that both have, over the seeds that both have."""
    seeds = sorted(set(table.get(a, {})) & set(table.get(b, {})))
    pairs = [(table[a][seed], table[b][seed]) for seed in seeds]
    return {c: [x[c] - y[c] for x, y in pairs] for c in columns if all(c in x and c in y for x, y in pairs)}


def shown(values: Sequence[float], sign: bool = False) -> str:
    """Mean ± half of the interval over seeds (Student's t); one seed has none, none at all no text."""
    text = "+.1f" if sign else ".1f"
    if not values:
        return ""
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
                cells = [shown([found[c] for found in seeds.values() if c in found]) for c in columns]
                lines.append(f"| {arm} ({len(seeds)}) | {bank} | {' | '.join(cells)} |")
    lines += ["", f"| difference in points | seeds {head}"]
    for question, (a, b) in questions.items():
        found = differences(table, a, b, columns)
        count = max(map(len, found.values()), default=0)
        if count:
            cells = [shown(found.get(c, []), sign=True) for c in columns]
            lines.append(f"| {question} | {count} | {' | '.join(cells)} |")
    return "\n".join(lines)
