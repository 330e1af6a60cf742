"""Does split batch norm help, and what of it? Seven arms on the same images, order, initial weights and compute.

    python experiments/split_claim/study.py digits runs/claim-digits --seeds 0 1 2 3 4 --jobs 2
    python experiments/split_claim/study.py cifar10-resnet20 runs/claim-resnet20 --data CIFAR10
    python experiments/split_claim/study.py cifar10-wrn-28-2 runs/claim-wrn --data CIFAR10 --seeds 0 1 2 3 4 --jobs 6   # a GPU

Every arm sees two views per image and step. A (seed, arm) is a run of its own: stop the study whenever you like and start it
again, it goes on where it was. Tables of finished runs are copied to results/SETTING/ARM-SEED.csv; summary.py reads those.
"""

import argparse
import csv
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

HERE = Path(__file__).parent
COLUMNS = ("bank", "shift", "severity", "accuracy", "low", "high", "nll", "ece", "images", "seed")

SPLIT = ["--norm", "split", "--branches", "weak", "strong"]
SHARED = ["--norm", "shared", "--branches"]
ARMS = {  # the most telling first, so that a study cut short says most
    "split": SPLIT,
    "both": [*SHARED, "weak", "strong"],
    "weak": [*SHARED, "weak", "again", "--views", "weak", "weak"],
    "strong": [*SHARED, "strong", "again", "--views", "strong", "strong"],
    "shared-affine": [*SPLIT, "--share", "affine"],
    "shared-statistics": [*SPLIT, "--share", "statistics"],
    "clean-branch": ["--norm", "split", "--branches", "clean", "strong"],
}

SETTINGS = {
    "digits": ["--data", "digits", "--model", "resnet8", "--epochs", "16"],
    "cifar10-resnet20": ["--model", "resnet20", "--epochs", "15", "--num-ops", "3", "--magnitude", "4"],
    "cifar10-wrn-28-2": [
        *["--model", "wrn-28-2", "--epochs", "30", "--num-ops", "3", "--magnitude", "4", "--precision", "bf16"],
        *["--memory-format", "channels_last", "--num-workers", "2"],
    ],
}


def banks(arm: str) -> list[str]:
    """Own statistics, and those of weak, strong and clean images through each affine."""
    if arm in ("both", "weak", "strong"):
        return ["source", "weak@source", "strong@source", "clean@source"]
    first = "clean" if arm == "clean-branch" else "weak"
    mixtures = [f"{first}:{w}+strong:{1 - w:g}" for w in (0.75, 0.5, 0.25)] if arm == "split" else []
    return [
        first,
        "strong",
        *(f"{view}@{own}" for own in (first, "strong") for view in ("weak", "strong", "clean")),
        *mixtures,
    ]


def renorm(*arguments: str, threads: int) -> None:
    """Run a command of renorm, on so many threads."""
    environment = os.environ | {"OMP_NUM_THREADS": str(threads)}
    subprocess.run([sys.executable, "-m", "renorm", *arguments], check=True, env=environment)


def work(cell: tuple[int, str], options: argparse.Namespace) -> None:
    """Train and evaluate one arm with one seed, or go on with it."""
    seed, arm = cell
    results = HERE / "results" / options.setting / f"{arm}-{seed}.csv"
    if results.exists():
        return
    run = options.out / f"{arm}-{seed}"
    threads = max(1, (os.cpu_count() or 1) // options.jobs)
    train = ["train", "--out", str(run), "--table-images", "0"]
    if (run / "config.json").exists():
        renorm(*train, "--resume", threads=threads)
    else:
        data = ["--data", options.data] if options.data else []
        renorm(*train, *SETTINGS[options.setting], *data, *ARMS[arm], "--seed", str(seed), threads=threads)
    renorm("evaluate", str(run), "--banks", *banks(arm), "--num-images", str(options.num_images), threads=threads)
    keep(run / "results.csv", results)


def keep(table: Path, results: Path) -> None:
    """Copy what summary.py reads; the run's own table also says how it was made."""
    with table.open() as file:
        rows = [{name: row[name] for name in COLUMNS} for row in csv.DictReader(file)]
    results.parent.mkdir(parents=True, exist_ok=True)
    with results.open("w") as file:
        writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def main() -> None:
    """Run what is not finished, seed by seed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("setting", choices=SETTINGS)
    parser.add_argument("out", type=Path, help="folder of the runs")
    parser.add_argument("--data", help="CIFAR-10, as renorm train takes it")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--arms", nargs="+", choices=ARMS, default=list(ARMS))
    parser.add_argument("--jobs", type=int, default=1, help="runs at a time")
    parser.add_argument("--num-images", type=int, default=0, help="test images; 0 for all")
    options = parser.parse_args()
    cells = [(seed, arm) for seed in options.seeds for arm in options.arms]
    with ThreadPoolExecutor(options.jobs) as pool:
        for _ in pool.map(lambda cell: work(cell, options), cells):
            pass


if __name__ == "__main__":
    main()
