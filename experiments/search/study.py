"""Do shared weights order cells, does measuring each cell's statistics help, and which norms keep a search from collapsing?

    python experiments/search/study.py ranking RUNS --data CIFAR10 --table nasbench201.parquet --seeds 0 1 2
    python experiments/search/study.py collapse RUNS --data CIFAR10 --table nasbench201.parquet --seeds 0 1 2 3 4
    python experiments/search/study.py published RUNS --data CIFAR10 --table nasbench201.parquet --minutes 10 --seeds 0
    python experiments/search/study.py published-ranking RUNS --data CIFAR10 --table nasbench201.parquet --minutes 6 --cells 100

`ranking`: CIFAR-10 scaled to 8 pixels, supernets of 8 channels and one cell a stage, 10,000 uniform paths of 64 images, 500 cells
drawn by seed 0 for all arms, judged on 2,000 test images; statistics are measured on 1,024 training images, and on fewer.
`ranking-deeper` has three cells a stage and 4 channels. `collapse`: 4 channels, three cells a stage, first-order DARTS at 30
times the published rate of the mixture, 400 steps. `published` and `published-ranking`: the size and rates of the papers at 32
pixels, for a GPU; after `--minutes` an arm's training ends, and its table is of what there is then.

Stop any whenever you like and start it again: networks go on from checkpoints.
"""

from __future__ import annotations

import argparse
import csv
import io
import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from renorm.data import Images, load, nasbench201, sample
from renorm.files import write_atomically
from renorm.recipes.search import CellSearch, Config, Ranking, rank, sampled, training_batches
from renorm.train import Event, Run, train

PATHS = {
    "affine-free": {"norm": "affine-free", "statistics": "shared"},
    "affine": {"norm": "affine", "statistics": "shared"},
    "conditional": {"norm": "conditional", "statistics": "condition"},
    "conditional-shared": {"norm": "conditional", "statistics": "shared"},
    "sandwich": {"norm": "sandwich", "statistics": "condition"},
}
MIXTURES = {norm: {"norm": norm} for norm in ("sandwich", "affine", "affine-free", "conditional")}
FEW = (16, 64, 256)  # images that paths are measured on too


@dataclass(frozen=True)
class Setting:
    """What all arms have in common.

    Args:
        options: Of the search.
        arms: The most telling first.
        steps: Of training.
        size: Side of the images in pixels.
        device: Where to train; by default on a GPU if there is one.
        each: Steps between lines of a mixture's table.
    """

    options: Mapping[str, Any]
    arms: Mapping[str, Mapping[str, Any]]
    steps: int
    size: int = 8
    device: str | None = "cpu"
    each: int = 20


UNIFORM = {"method": "paths", "horizon": None, "save_every": 250}
SETTINGS = {
    "ranking": Setting({**UNIFORM, "width": 8, "cells": 1}, PATHS, 10_000),
    "ranking-deeper": Setting({**UNIFORM, "width": 4, "cells": 3}, PATHS, 10_000),
    "collapse": Setting({"width": 4, "cells": 3, "mixture_rate": 1e-2, "save_every": 100}, MIXTURES, 400),
    "published-ranking": Setting({**UNIFORM, "width": 16, "cells": 5}, PATHS, 10_000, 32, None),
    "published": Setting({"width": 16, "cells": 5, "save_every": 100}, MIXTURES, 35 * 390, 32, None, 39),
}


class EnoughError(Exception):
    """As many steps or minutes as were asked for."""


@dataclass
class Line:
    """What a mixture says of itself, every few steps, in a file; of a step that was made twice the last counts."""

    recipe: CellSearch
    file: Path
    setting: Setting
    end: float

    def __call__(self, event: Event) -> None:
        ended = event.step >= self.setting.steps or time.monotonic() > self.end
        if self.recipe.config.mixes and (ended or event.step % self.setting.each == 0):
            with self.file.open("a") as file:
                file.write(json.dumps({"step": event.step, **self.now()}) + "\n")
        if ended:
            raise EnoughError

    def now(self) -> dict[str, Any]:
        """The cell of the largest weights, how undecided they are, and what the table says."""
        weights, cell, table = (
            self.recipe.net.alpha.detach().double().softmax(1),
            self.recipe.net.found,
            self.recipe.table,
        )
        assert table is not None
        return {
            "free_edges": cell.free_edges,
            "skips": cell.operations.count("skip_connect"),
            "entropy": round(float(-(weights * weights.log()).sum(1).mean()), 5),
            "accuracy": round(table.accuracy(cell), 3),
            "percentile": round(table.percentile(cell), 2),
            "cell": str(cell),
        }


def trained(folder: Path, setting: Setting, arm: str, seed: int, images: tuple[Images, Images], asked: Any) -> Line:
    """The supernet of an arm, trained or gone on with."""
    per_epoch = (len(images[0]) + 1) // 2 // Config.batch  # of the first half
    given: dict[str, Any] = {
        "epochs": -(-setting.steps // per_epoch),
        **setting.options,
        **setting.arms[arm],
        "seed": seed,
    }
    recipe = CellSearch(Config("made", table=asked.table, **given), *images, device=setting.device)
    run = Run(folder)
    if not (folder / "config.json").exists():
        run.start(recipe.describe())
    line = Line(recipe, folder / "steps.jsonl", setting, time.monotonic() + 60 * (asked.minutes or 1e9))
    try:
        train(recipe, run, resume=True, callback=line)
    except EnoughError:
        recipe.net.train()
    return line


def ranked(found: Ranking) -> bytes:
    """A line for each cell: what is true of it, and what each way says."""
    ways = list(found.accuracy)
    rows = [
        {
            "cell": cell,
            "truth": f"{found.truth[i]:.3f}",
            "params": int(found.params[i]),
            **{way: f"{found.accuracy[way][i]:.4f}" for way in ways},
            "moved": f"{found.moved['recalibrated'][i]:.4f}",
        }
        for i, cell in enumerate(found.cells)
    ]
    return written(rows)


def mixed(line: Line) -> bytes:
    """A line for every few steps."""
    rows = [json.loads(text) for text in line.file.read_text().splitlines()]
    return written(list({row["step"]: row for row in rows}.values()))


def written(rows: Sequence[Mapping[str, Any]]) -> bytes:
    """Rows as a CSV file."""
    file = io.StringIO()
    writer = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return file.getvalue().encode()


def table(folder: Path, setting: Setting, arm: str, seed: int, images: tuple[Images, Images], asked: Any) -> bytes:
    """The table of an arm and a seed."""
    line = trained(folder, setting, arm, seed, images, asked)
    recipe = line.recipe
    if recipe.config.mixes:
        return mixed(line)
    measuring = training_batches(images[0], 1024, 128, recipe.net.alpha)
    judged, ways = sample(images[1], min(asked.images, len(images[1]))), ["trained", "recalibrated", "batch"]
    few = [f"recalibrated:{number}" for number in FEW]
    return ranked(
        rank(recipe.net, sampled(asked.cells, 0), nasbench201(asked.table), judged, measuring, ways=ways + few)
    )


def main() -> None:
    """Run the arms that are not there yet, seed by seed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("setting", choices=list(SETTINGS))
    parser.add_argument("runs", type=Path)
    parser.add_argument("--data", default="cifar10")
    parser.add_argument("--table", required=True)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--arms", nargs="+", help="by default all of the setting")
    parser.add_argument("--steps", type=int, help="of training, if not the setting's")
    parser.add_argument("--cells", type=int, default=500)
    parser.add_argument("--images", type=int, default=2000)
    parser.add_argument("--minutes", type=float, help="after which an arm ends")
    asked = parser.parse_args()
    setting = SETTINGS[asked.setting]
    if asked.steps:
        setting = Setting(**{**vars(setting), "steps": asked.steps})
    if unknown := set(asked.arms or ()) - set(setting.arms):
        parser.error(f"no arms {', '.join(unknown)}: {asked.setting} has {', '.join(setting.arms)}")
    torch.set_num_threads(1)
    images = load(asked.data, "train", size=setting.size), load(asked.data, "test", size=setting.size)
    if not setting.options.get("method") and setting.device == "cpu":
        images = (
            images[0],
            sample(images[1], min(500, len(images[1]))),
        )  # on which a mixture is evaluated at the end of an epoch
    for seed in asked.seeds:
        for arm in asked.arms or setting.arms:
            path, started = asked.out / asked.setting / f"{arm}-{seed}.csv", time.time()
            if not path.exists():
                content = table(asked.runs / f"{arm}-{seed}", setting, arm, seed, images, asked)
                path.parent.mkdir(parents=True, exist_ok=True)
                write_atomically(path, content)
                print(f"{time.strftime('%H:%M:%S')} {path.name} in {time.time() - started:.0f} s", flush=True)


if __name__ == "__main__":
    main()
