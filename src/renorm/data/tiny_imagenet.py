"""Tiny-ImageNet as it is distributed: classes of the validation images are in a table, not in folders."""

from __future__ import annotations

from pathlib import Path

import torch

from renorm.data.decode import prepare
from renorm.data.folder import Files, image_files, subfolders
from renorm.data.images import Images
from renorm.data.splits import choose

TABLE = Path("val", "val_annotations.txt")


def is_tiny_imagenet(folder: Path) -> bool:
    """Whether a folder has Tiny-ImageNet's table of validation images."""
    return (folder / TABLE).is_file()


def load_tiny_imagenet(folder: Path, split: str, *, size: int | None = None, holdout: float = 0.0) -> Images:
    """200 classes of 64 x 64 pixels: ``train``, and ``val``, which is ``test`` too, since the images under test have no labels.

    Classes are WordNet ids in their order.

    Raises:
        ValueError: there is no such split, or the table does not fit the images.
    """
    choose(str(folder), split, ["train", "val", "test"], holdout)
    classes = [path.name for path in subfolders(folder / "train")]
    number = {name: i for i, name in enumerate(classes)}
    if split == "train":
        labelled = [(path, i) for name, i in number.items() for path in image_files(folder / "train" / name, "**/*")]
    else:
        labelled = [(folder / "val" / "images" / file, number.get(name, -1)) for file, name in _table(folder / TABLE)]
    if not labelled or min(label for _, label in labelled) < 0:
        raise ValueError(
            f"{folder} has {len(labelled)} images for {split!r} and {len(classes)} classes in train that do not fit: a folder "
            "of every class in train, and all images of the validation table, are needed. Extract the archive again."
        )
    files, labels = zip(*labelled, strict=True)
    pixels = prepare(Files(list(files)), size, torch.arange(len(files)))
    return Images(f"{folder} ({split})", pixels, torch.tensor(labels), classes, files=[path.name for path in files])


def _table(path: Path) -> list[tuple[str, str]]:
    rows = [line.split("\t") for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
    if any(len(row) < 2 for row in rows):
        raise ValueError(
            f"{path} has lines without a tab: file name and class of each validation image are needed. Extract it again."
        )
    return sorted((row[0], row[1]) for row in rows)
