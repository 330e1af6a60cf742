"""Shifts that are images of their own: the domains of the data, and data sets in folders."""

from collections.abc import Sequence
from pathlib import Path

from renorm.data import Images, sample
from renorm.data.shifted import read_shifts
from renorm.evaluate.shifts import Shift


def domains(images: Images, names: Sequence[str] = (), seed: int = 0) -> list[Shift]:
    """Each domain of the data as a shift.

    Args:
        images: With domains.
        names: Those wanted; by default all.
        seed: Of the draw of images to adapt to.

    Raises:
        ValueError: If the data have no domains, or no image of one.
    """
    if images.domains is None or images.domain is None:
        raise ValueError(
            f"{images.name} has no domains: a Parquet file with a column 'domain' is needed. Write one, or leave the shift "
            "'domains' out."
        )
    found = []
    for name in names or images.domains:
        members = (images.domain == images.domains.index(name)).nonzero()[:, 0]
        if not len(members):
            raise ValueError(
                f"no image of the domain {name} is among the {len(images)} of {images.name}: a shift needs at least one. "
                "Evaluate on more images."
            )
        found.append(Shift(name, seed=seed, images=images.subset(members)))
    return found


def stored(
    path: Path, *, classes: Sequence[str] = (), size: int | None = None, num_images: int = 0, seed: int = 0
) -> list[Shift]:
    """The shifts that a folder or file holds: CIFAR-10-C, ImageNet-C, -A, -R, -V2, -Sketch and the like.

    Args:
        path: Where they are.
        classes: What the model's outputs stand for, so that data of some of these classes are scored among these.
        size: Side in pixels that images are scaled and cut to.
        num_images: Draw so many of each; 0 for all.
        seed: Of the draw, which takes the same ones of every severity.

    Raises:
        FileNotFoundError: If there is nothing.
        ValueError: If it cannot be read, or its classes are not the model's.
    """
    found = []
    for each in read_shifts(path, classes=classes, size=size):
        fewer = num_images and num_images < len(each.images)
        images = sample(each.images, num_images, seed) if fewer else each.images
        found.append(Shift(each.name, each.severity, seed, images=images, outputs=each.outputs))
    return found
