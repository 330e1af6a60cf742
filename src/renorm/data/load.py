"""Images of a data set, by name or path, as they are asked for."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from renorm.data.cifar import CIFAR
from renorm.data.decode import square
from renorm.data.images import Images, framed, sample
from renorm.data.origin import Origin
from renorm.data.preprocessing import Preprocessing, preprocessing_of
from renorm.data.sound import sound
from renorm.data.sources import NAMED, read_at, read_named, splits_of


def load(
    name: str | Path,
    split: str | None = None,
    *,
    size: int | None = None,
    model: Any = None,
    holdout: float = 0.0,
    root: str | Path | None = None,
    download: bool = False,
    labels: bool = True,
    skip_damaged: bool = False,
) -> Images:
    """Load images with their labels.

    Small images (sides of at most 96 pixels) keep their size, which must be the same for all, and are decoded once; where any
    is larger, all are decoded when asked for, scaled so that they cover a square of 256 pixels and cut to the 224 in its
    center. A model that says how its input is made has a word in that. An image that has its size already is not scaled.

    Args:
        name: ``"digits"``, ``"cifar10"``, ``"cifar100"``, a folder of images (one subfolder per class, or none), a
            Parquet file or a folder of them in the Hugging Face layout, ``NAME_data.npy`` with ``NAME_labels.npy``, or
            Tiny-ImageNet as it is distributed. Nothing is unpickled but the files of CIFAR, and these only after their
            checksums are found to be the published ones.
        split: ``"train"``, ``"test"``, ``"validation"``, or the name of a subfolder or file of the data. None is all of data
            without splits, and the training split of others.
        size: side in pixels to scale and cut all images to.
        model: whose input they become: its size, share of the image, interpolation, mean and standard deviation; as
            :func:`preprocessing_of` takes it.
        holdout: share of data without splits that is their ``"test"`` split; their ``"train"`` split is the rest. The
            division is stratified and the same in every run.
        root: folder of CIFAR's archives; unless given, the one that the environment variable RENORM_DATA_HOME names,
            else ``~/.cache/renorm``.
        download: whether to fetch an archive of CIFAR that is not there, or is damaged.
        labels: whether subfolders and columns are classes; without, all images are read, however deep they lie.
        skip_damaged: whether to leave out images that cannot be read, and say how many; all are read once to find them.

    Raises:
        FileNotFoundError: there is no such path or archive.
        ValueError: there are no images, or no such split, or a file cannot be read.
        ImportError: a library that the data need is missing.

    Example:
        >>> load("digits", split="test")
        Images('digits': 450 of 16 x 16, 10 classes)
    """
    _check(name, size, model, holdout)
    if name not in CIFAR and (download or root is not None):
        raise ValueError(
            f"{'download' if download else 'root'} for {name}: only {' and '.join(CIFAR)} have an archive that is "
            "fetched and kept. Leave it out."
        )
    wanted = None if model is None else preprocessing_of(model)
    frame = wanted.frame if wanted else square(size)
    read = (
        read_named(str(name), split, frame, root, download)
        if name in NAMED
        else read_at(Path(name), split, holdout, labels)
    )
    if not labels:
        read = replace(read, labels=torch.full_like(read.labels, -1), classes=[])
    read = sound(read) if skip_damaged else read
    origin = replace(
        read.origin or Origin(""),
        given=str(name),
        path="" if name in NAMED else str(Path(name).resolve()),
        split=split or "",
        size=size,
        holdout=holdout,
        unlabelled=not labels,
        skip_damaged=skip_damaged,
    )
    read = replace(read, pixels=framed(read, frame), origin=origin)
    return read.like(wanted) if wanted else read


def _check(name: str | Path, size: int | None, model: Any, holdout: float) -> None:
    if size is not None and size < 1:
        raise ValueError(f"size={size} is no side in pixels. At least 1 is needed. Leave it out to keep small images.")
    if size is not None and model is not None:
        raise ValueError(f"size={size} and model=: one of them says how large images become. Leave one out.")
    if name in NAMED and holdout:
        raise ValueError(
            f"{name} has its splits, train and test, and holdout={holdout} would divide them again. "
            "Only data without splits can be divided. Leave holdout out."
        )


def read_again(origin: Origin, path: str | Path | None = None) -> Images:
    """The images that were read before; their fingerprint tells whether they are still the same.

    Args:
        origin: How they were read.
        path: Where they are now, if not where they were.

    Raises:
        FileNotFoundError: They are not there.
        ValueError: There are fewer, or no such domain.
    """
    given = path or origin.path or origin.given
    divided = origin.holdout or splits_of(given)
    images = load(
        given,
        (origin.split or None) if divided else None,  # earlier tables name a split of data that have none
        size=origin.size,
        model=origin.frame and Preprocessing(origin.frame),
        holdout=origin.holdout,
        labels=not origin.unlabelled,
        skip_damaged=origin.skip_damaged,
    )
    images = images if origin.drawn is None else sample(images, *origin.drawn)
    return images if not origin.domain else images.of_domain(origin.domain)
