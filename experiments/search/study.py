"""Do shared weights order cells, and does it help to measure each cell's statistics through its own path? Five norms.

    python experiments/search/study.py runs/search --data CIFAR10 --table nasbench201.parquet --seeds 0 1 2
    python experiments/search/study.py runs/try --data CIFAR10 --table nasbench201.parquet --steps 40 --cells 30 --images 200

CIFAR-10 scaled to 8 pixels, supernets of 8 channels and one cell a stage, 10,000 uniform paths of 64 images, 500 cells drawn by
seed 0 for all arms, judged on 2,000 test images; statistics are measured on 1,024 training images. Stop it whenever you like and
start it again: a supernet goes on from its checkpoint, and each arm's table is written when all of its cells are judged.
"""

from __future__ import annotations

import argparse
import csv
import io
import time
from pathlib import Path

import torch

from renorm.data import load, nasbench201, sample
from renorm.files import write_atomically
from renorm.recipes.search import Config
from renorm.recipes.search.ranking import Ranking, rank, sampled, training_batches
from renorm.recipes.search.recipe import CellSearch
from renorm.train import Run, train

RECALIBRATED = "recalibrated"
ARMS = {
    "affine-free": {"norm": "affine-free", "statistics": "shared"},
    "affine": {"norm": "affine", "statistics": "shared"},
    "conditional": {"norm": "conditional", "statistics": "condition"},
    "conditional-shared": {"norm": "conditional", "statistics": "shared"},
    "sandwich": {"norm": "sandwich", "statistics": "condition"},
}
STEPS = 250  # between checkpoints


def table(found: Ranking) -> bytes:
    """A line for each cell: what is true of it, and what each way says."""
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    ways = list(found.accuracy)
    writer.writerow(["cell", "truth", "params", *ways, "moved"])
    for i, cell in enumerate(found.cells):
        values = [f"{found.accuracy[way][i]:.4f}" for way in ways]
        writer.writerow(
            [cell, f"{found.truth[i]:.3f}", int(found.params[i]), *values, f"{found.moved[RECALIBRATED][i]:.4f}"]
        )
    return file.getvalue().encode()


def main() -> None:
    """Run the arms that are not there yet, seed by seed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", type=Path)
    parser.add_argument("--data", default="cifar10")
    parser.add_argument("--table", required=True)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--arms", nargs="+", default=list(ARMS), choices=list(ARMS))
    parser.add_argument("--steps", type=int, default=10_000)
    parser.add_argument("--cells", type=int, default=500)
    parser.add_argument("--images", type=int, default=2000)
    asked = parser.parse_args()
    torch.set_num_threads(1)
    images, test = (load(asked.data, split, size=8) for split in ("train", "test"))
    judged, true = sample(test, asked.images), nasbench201(asked.table)
    for seed in asked.seeds:
        for arm in asked.arms:
            path = asked.out / f"{arm}-{seed}.csv"
            if not path.exists():
                started = time.time()
                recipe = trained(asked.runs / f"{arm}-{seed}", arm, seed, asked.steps, (images, test))
                measuring = training_batches(images, 1024, 128, recipe.net.alpha)
                found = rank(recipe.net, sampled(asked.cells, 0), true, judged, measuring)
                write_atomically(path, table(found))
                print(f"{time.strftime('%H:%M:%S')} {path.name} in {time.time() - started:.0f} s", flush=True)


def trained(folder: Path, arm: str, seed: int, steps: int, images: tuple) -> CellSearch:
    """The supernet of an arm, trained or gone on with."""
    per_epoch = (len(images[0]) + 1) // 2 // 64  # of the first half
    config = Config(
        "made",
        method="paths",
        width=8,
        cells=1,
        epochs=-(-steps // per_epoch),
        horizon=None,
        save_every=STEPS,
        seed=seed,
        **ARMS[arm],
    )
    recipe, run = CellSearch(config, *images, device="cpu"), Run(folder)
    if not (folder / "config.json").exists():
        run.start(recipe.describe())
    train(recipe, run, resume=True)
    return recipe


if __name__ == "__main__":
    main()
