"""What an affine between content and style changes, and what a decoder trained for styles gains over one that reconstructs.

    python experiments/stylize/study.py runs/stylize --data DATA --seeds 0 1 2
    python experiments/stylize/study.py runs/try --data DATA --steps 4 --pairs 4

DATA has ``photos/photos.parquet`` and ``paintings/paintings.parquet`` to train on, ``imagenet/photos.parquet`` to judge on, and
``weights/vgg19-quarter-{encoder,decoder}.safetensors``. 320 steps of 4 contents and 4 styles, crops of 64 pixels, Adam 3e-4; 14
paintings train, 6 are held out. Judged on fixed pairs of held-out photographs of 224 pixels and held-out paintings, in the
encoder itself, in EfficientNet-Lite0, which trained nothing, and by its accuracy. Pilots, over the style weight, are judged on
other photographs. Stop it whenever you like and start it again.
"""

from __future__ import annotations

import argparse
import csv
import io
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from renorm.data import Images, load
from renorm.files import write_atomically
from renorm.models import Stylizer, load_sample
from renorm.recipes.stylize import Config, Judge, Stylization, pair_numbers
from renorm.train import Run, train

PILOTS = ("pilot-1", "pilot-3", "pilot-10")
ARMS: dict[str, dict[str, Any]] = {
    **{name: {"weight": float(name.removeprefix("pilot-"))} for name in PILOTS},
    "reconstruction": {},
    "adain": {},
    "sandwich-attached": {"affine": True, "attach": True},
    "sandwich-detached": {"affine": True},
}
HELD, TAPPED = 6, (0, 1, 2, 4)  # paintings held out; blocks of the judge whose moments are compared
JUDGE, CLASS = "efficientnet-lite0", "accuracy[efficientnet-lite0]"


def main() -> None:
    """Run the arms that are not there yet, seed by seed; pilots with the first seed alone."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", type=Path)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--arms", nargs="+", default=list(ARMS), choices=list(ARMS))
    parser.add_argument("--steps", type=int, default=320)
    parser.add_argument("--pairs", type=int, default=48)
    asked = parser.parse_args()
    torch.set_num_threads(1)
    for seed in asked.seeds:
        for arm in asked.arms:
            path = asked.out / f"{arm}-{seed}.csv"
            once = arm in PILOTS or arm == "reconstruction"
            if not path.exists() and not (once and seed != asked.seeds[0]):
                started = time.time()
                net = trained(asked.runs / f"{arm}-{seed}", arm, seed, asked.steps, asked.data)
                write_atomically(path, table(net, asked.data, asked.pairs, other=arm in PILOTS))
                print(f"{time.strftime('%H:%M:%S')} {path.name} in {time.time() - started:.0f} s", flush=True)


def trained(folder: Path, arm: str, seed: int, steps: int, data: Path) -> Stylizer:
    """The network of an arm, trained or gone on with."""
    weights = data / "weights"
    config = Config(
        "photos",
        "paintings",
        str(weights / "vgg19-quarter-encoder.safetensors"),
        str(weights / "vgg19-quarter-decoder.safetensors"),
        steps=steps,
        each=min(40, steps),
        batch=4,
        size=96,
        crop=64,
        rate=3e-4,
        decay=0.0,
        seed=seed,
        **ARMS[arm],
    )
    recipe = Stylization(config, load(data / "photos/photos.parquet"), paintings(data, held=False), device="cpu")
    if arm == "reconstruction":
        return recipe.net.eval()
    run = Run(folder)
    if not (folder / "config.json").exists():
        run.start(recipe.describe())
    train(recipe, run, resume=True)
    return recipe.net.eval()


def paintings(data: Path, *, held: bool) -> Images:
    """Those that train, or those held out."""
    images = load(data / "paintings/paintings.parquet", size=256)
    order = torch.randperm(len(images), generator=torch.Generator().manual_seed(0))
    return images.subset(order[:HELD] if held else order[HELD:])


def table(net: Stylizer, data: Path, pairs: int, *, other: bool) -> bytes:
    """A line for each pair: its photograph, its painting, and all numbers."""
    model = load_sample()
    photos, styles = load(data / "imagenet/photos.parquet", model=model), paintings(data, held=True)
    order = torch.randperm(len(photos), generator=torch.Generator().manual_seed(1))
    chosen = order[-pairs:].tolist() if other else order[:pairs].tolist()
    numbers, pictures = pair_numbers(net, paired(photos, styles, chosen), Judge(JUDGE, lambda x: blocks(model, x)))
    with torch.no_grad():
        right = [float(model(2 * y - 1).argmax() == photos[i][1]) for i, y in zip(chosen, pictures, strict=True)]
    return lines({"photo": chosen, "painting": [k % HELD for k in range(pairs)], **numbers, CLASS: right})


def paired(photos: Images, styles: Images, chosen: list[int]) -> Iterator[tuple[Tensor, Tensor]]:
    """Photographs beside paintings in turn, in 0..1."""
    for k, i in enumerate(chosen):
        yield photos[i][0][None] / 255, styles[k % HELD][0][None] / 255


def blocks(model: Any, x: Tensor) -> dict[str, Tensor]:
    """Features of the judge, whose input is -1 to 1."""
    x = model.bn1(model.conv_stem(2 * x - 1))
    found = {}
    for number, block in enumerate(model.blocks):
        x = block(x)
        if number in TAPPED:
            found[str(number)] = x
    return found


def lines(columns: Mapping[str, Any]) -> bytes:
    """Columns as CSV."""
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(columns)
    for row in zip(*columns.values(), strict=True):
        writer.writerow(f"{float(value):.6g}" for value in row)
    return file.getvalue().encode()


if __name__ == "__main__":
    main()
