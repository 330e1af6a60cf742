"""Small folders laid out as the published benchmarks are, made without renorm's own writers."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from renorm.data import Images
from tests.data.pictures import write_image

SEVERITIES = (1, 2, 3, 4, 5)


def numbered(images: Images) -> list[int]:
    """The first channel of each image's first pixel, which says which image it is."""
    return [int(image[0, 0, 0]) for image, _ in images]


def write_cifar_c(folder: Path, names: Sequence[str], labels: Sequence[int], side: int = 8) -> Path:
    """Arrays of one grey value per image: severity times 40 plus the image's number."""
    folder.mkdir(parents=True, exist_ok=True)
    greys = [40 * severity + i for severity in SEVERITIES for i in range(len(labels))]
    array = np.broadcast_to(np.array(greys, dtype=np.uint8)[:, None, None, None], (len(greys), side, side, 3))
    for name in names:
        np.save(folder / f"{name}.npy", array)
    np.save(folder / "labels.npy", np.array([*labels] * len(SEVERITIES)))
    return folder


def write_imagenet_c(folder: Path, names: Sequence[str], classes: Sequence[str], per_class: int = 2) -> Path:
    """Images of one grey value: severity times 40 plus the image's number, class after class."""
    for name in names:
        for severity in SEVERITIES:
            write_classes(folder / name / str(severity), classes, per_class, first=40 * severity)
    return folder


def write_classes(folder: Path, classes: Sequence[str], per_class: int = 1, first: int = 0) -> Path:
    """A folder per class; images are numbered class after class."""
    for i, name in enumerate(classes):
        for j in range(per_class):
            grey = (first + i * per_class + j) % 256
            write_image(folder / name / f"{name}_{j}.png", color=(grey, grey, grey))
    return folder
