"""Tiny-ImageNet as it is distributed: classes of the validation images are in a table, not in folders."""

from __future__ import annotations

from collections import Counter
from pathlib import Path, PurePath

import torch

from renorm.data.blobs import Files
from renorm.data.decode import undecoded
from renorm.data.images import Images
from renorm.data.listing import subfolders, walk
from renorm.data.splits import choose

TABLE = Path("val", "val_annotations.txt")
SPLITS = {"train": "train", "val": "validation", "test": "test"}


def is_tiny_imagenet(folder: Path) -> bool:
    """Whether a folder has Tiny-ImageNet's table of validation images."""
    return (folder / TABLE).is_file()


def load_tiny_imagenet(folder: Path, split: str | None, *, holdout: float = 0.0) -> Images:
    """200 classes of 64 x 64 pixels: ``train``, and ``val``, which is ``test`` too, since the images under test have no labels.

    Classes are WordNet ids in their order.

    Raises:
        ValueError: there is no such split, or the table does not fit the images.
    """
    (part,) = choose(str(folder), split, SPLITS, holdout)
    classes = [path.name for path in subfolders(folder / "train")]
    number = {name: i for i, name in enumerate(classes)}
    if part == "train":
        names = walk(folder / "train", Counter())
        labelled = [(f"train/{name}", number.get(name.partition("/")[0], -1)) for name in names]
    else:
        labelled = [(f"val/images/{file}", number.get(name, -1)) for file, name in _table(folder / TABLE)]
    if not labelled or min(label for _, label in labelled) < 0:
        raise ValueError(
            f"{folder} has {len(labelled)} images for {part!r} and {len(classes)} classes in train that do not fit: a folder "
            "of every class in train, and all images of the validation table, are needed. Extract the archive again."
        )
    names, labels = zip(*labelled, strict=True)
    pixels = undecoded(Files(str(folder), list(names)), torch.arange(len(names)))
    return Images(
        f"{folder} ({part})", pixels, torch.tensor(labels), classes, files=[PurePath(name).name for name in names]
    )


def _table(path: Path) -> list[tuple[str, str]]:
    rows = [line.split("\t") for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
    if any(len(row) < 2 for row in rows):
        raise ValueError(
            f"{path} has lines without a tab: file name and class of each validation image are needed. Extract it again."
        )
    return sorted((row[0], row[1]) for row in rows)
