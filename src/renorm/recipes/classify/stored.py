"""Views that show stored images, paired with the training images by path: what a network made of these beforehand."""

from __future__ import annotations

from pathlib import PurePosixPath

import torch

from renorm.data import Images, load
from renorm.recipes.classify.config import STYLIZED, Config


def check_stored(config: Config) -> None:
    """Refuse a view of stored images that are not named, and named ones that no view shows.

    Raises:
        ValueError: If so.
    """
    shown, path = STYLIZED in config.view_names, config.augmentation.stylized
    if shown and path is None:
        raise ValueError(
            f"the view {STYLIZED} shows stored images, and none are named: a copy of the data that renorm stylize made is "
            f"needed. Add --stylized FOLDER."
        )
    if path is not None and not shown:
        raise ValueError(
            f"--stylized {path} with the views {' '.join(config.view_names)}: it would do nothing. Leave it out, or add the "
            f"branch {STYLIZED}."
        )


def stored_views(config: Config, images: Images) -> dict[str, Images]:
    """The stored images of each branch that shows such, in the order of the training images.

    Raises:
        FileNotFoundError: If there are none where they were named.
        ValueError: If one is missing, or of another size.
    """
    branches = [branch for branch, name in zip(config.branches, config.view_names, strict=True) if name == STYLIZED]
    path = config.augmentation.stylized
    return dict.fromkeys(branches, paired(images, path).whole()) if branches and path is not None else {}


def paired(images: Images, path: str) -> Images:
    """The images at a path that stand for these, in their order.

    They are found by class and file name, whose suffix may be another; where files have no names that differ, by their place.

    Raises:
        FileNotFoundError: If there is nothing.
        ValueError: If one is missing, or small ones are of another size.
    """
    origin = images.origin
    split, size, holdout = ("", None, 0.0) if origin is None else (origin.split, origin.size, origin.holdout)
    found = load(path, split or None, size=size, holdout=holdout)
    wanted, there = keys(images), keys(found)
    if wanted is None or there is None:
        found = _by_place(images, found)
    else:
        places = {key: i for i, key in enumerate(there)}
        missing = [key for key in wanted if key not in places]
        if missing:
            raise ValueError(
                f"{path} lacks {len(missing)} of the {len(images)} images of {images.name}, as {'/'.join(missing[0])}: one for "
                f"each is "
                f"needed, under its path. Stylize the same data again: renorm stylize NETWORK --content {images.name} ..."
            )
        found = found.subset([places[key] for key in wanted])
    if found[0][0].shape != images[0][0].shape:
        here, where = ("{2} x {1}".format(*each[0][0].shape) for each in (images, found))
        raise ValueError(
            f"{path} has images of {where} pixels, and {images.name} of {here}: the same size is needed. Stylize these images "
            f"themselves."
        )
    return found


def keys(images: Images) -> list[tuple[str, str]] | None:
    """What tells images apart, class and file name without suffix; None where nothing does."""
    if images.files is None:
        return None
    classes = [images.classes[label] if images.classes and label >= 0 else "" for label in images.labels.tolist()]
    found = [(name, str(PurePosixPath(file).with_suffix(""))) for name, file in zip(classes, images.files, strict=True)]
    return found if len({*found}) == len(found) else None


def _by_place(images: Images, found: Images) -> Images:
    if len(images) != len(found) or not torch.equal(images.labels, found.labels):
        raise ValueError(
            f"{found.name} has {len(found)} images and {images.name} {len(images)}, without names by which they could be "
            f"paired, and with other labels: the same images in the same order are needed. Stylize these images themselves."
        )
    return found
