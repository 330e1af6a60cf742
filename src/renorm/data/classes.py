"""Which of a model's outputs the classes of a data set stand for."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from unicodedata import normalize

import torch
from torch import Tensor

from renorm.data.images import Images
from renorm.extras import require
from renorm.notice import notice

IMAGENET = 1000
WORDNET = re.compile(r"n\d{8}")


def matched(images: Images, classes: Sequence[str]) -> tuple[Images, Tensor | None]:
    """Images with labels relative to a list of outputs, and that list, ascending; None for all outputs in order.

    Args:
        images: with the names of their classes.
        classes: names of the model's outputs; empty where they are not known.

    Raises:
        ValueError: the classes cannot be found among the model's.
    """
    outputs = outputs_of(images.classes, classes, images.name)
    if outputs is None:
        if _numbered(images.classes) and len(images.classes) == len(classes):
            images = replace(images, classes=list(classes))
        return images, None
    ascending, order = outputs.sort()
    rank = torch.empty_like(order).scatter_(0, order, torch.arange(len(order)))
    labels = torch.where(images.labels < 0, images.labels, rank[images.labels.clamp(min=0)])
    images = replace(images, labels=labels, classes=[images.classes[i] for i in order.tolist()])
    num_outputs = len(classes) or (IMAGENET if _wordnet(images.classes) else len(ascending))
    is_all = torch.equal(ascending, torch.arange(num_outputs))
    return images, None if is_all else ascending


def in_order(images: Images, classes: Sequence[str]) -> Images:
    """Images with labels that count all outputs of a model, matched by name where the classes of both have names.

    Args:
        images: perhaps without classes.
        classes: names of the model's outputs; empty where they are not known.

    Raises:
        ValueError: the images have other classes than the model, or only some of them.
    """
    if not images.classes or not classes:
        return images
    found, outputs = matched(images, classes)
    if outputs is not None and _numbered(images.classes):
        return images  # the last classes are missing, and labels count outputs already
    if outputs is not None:
        raise ValueError(
            f"{images.name} has {len(images.classes)} classes and the model {len(classes)} outputs: both must be the same. Give "
            "images of all classes; renorm evaluate takes these as a shift, which compares their outputs alone: --shifts FOLDER."
        )
    return found


def labels_in_words(images: Images) -> str:
    """Where labels are from, and what they are called; nothing where that is not known."""
    if not images.classes or images.origin is None or not images.origin.labels:
        return ""
    return f"labels from {images.origin.labels}: {_few(images.classes, 8)} ({len(images.classes)} classes)"


def tell_order(images: Images, classes: Sequence[str]) -> None:
    """Tell in what order classes are taken for the outputs of a model that has no names for them."""
    names = images.classes
    if names and not classes and not _numbered(names) and not (_wordnet(names) and len(names) == IMAGENET):
        notice(
            f"the model's outputs have no names: the classes of {images.name} are taken for them in the order {_few(names, 8)}."
        )


def outputs_of(names: Sequence[str], classes: Sequence[str], data: str) -> Tensor | None:
    """The model's output of each class by name; None where they are the model's classes in order.

    Names are looked for among the model's. WordNet ids that are not there are those of ImageNet's 1,000 classes, and whole
    numbers are outputs, if the model's names are unknown or as many as ImageNet's.

    Example:
        >>> outputs_of(["dog", "bee"], ["ant", "bee", "dog"], "pets")
        tensor([2, 1])
    """
    number = {normalize("NFC", name): i for i, name in enumerate(classes)}
    names = [normalize("NFC", name) for name in names]
    if all(name in number for name in names):
        return torch.tensor([number[name] for name in names], dtype=torch.int64) if names else None
    if _numbered(classes) and len(names) == len(classes):
        return None  # the model's outputs have no names, only an order
    if all(name.isdecimal() for name in names):
        return _by_number(names, classes, data)
    if _wordnet(names) and len(classes) in (0, IMAGENET) and not _wordnet(classes):
        return _of_imagenet(names, data)
    if not classes:
        return None
    missing = [name for name in names if name not in number]
    raise ValueError(
        f"{data} has {len(names)} classes, of which {len(missing)} ({_few(missing)}) are none of the model's "
        f"{len(classes)} ({_few(classes)}). Its classes must be among the model's, by the same names; WordNet ids are "
        "understood for models of ImageNet's 1,000 classes. Rename the folders, or evaluate a model trained on them."
    )


def _by_number(names: Sequence[str], classes: Sequence[str], data: str) -> Tensor:
    outputs = torch.tensor([int(name) for name in names], dtype=torch.int64)
    if classes and int(outputs.max()) >= len(classes):
        raise ValueError(
            f"{data} has a class {int(outputs.max())}, and the model has {len(classes)} outputs. Numbers below that are "
            "needed. Evaluate a model of as many classes."
        )
    return outputs


def _of_imagenet(names: Sequence[str], data: str) -> Tensor | None:
    if len(names) == IMAGENET:
        return None  # in the order of their ids, as the model's outputs are
    number = {name: i for i, name in enumerate(require("timm.data").ImageNetInfo("imagenet-1k").label_names())}
    missing = [name for name in names if name not in number]
    if missing:
        raise ValueError(
            f"{data} has {len(missing)} classes ({_few(missing)}) that are none of ImageNet's 1,000. The names of the "
            "model's outputs are needed to find them. Pass classes, or evaluate a run that was trained on them."
        )
    return torch.tensor([number[name] for name in names], dtype=torch.int64)


def _numbered(names: Sequence[str]) -> bool:
    return list(names) == [str(i) for i in range(len(names))]


def _wordnet(names: Sequence[str]) -> bool:
    return bool(names) and all(WORDNET.fullmatch(name) for name in names)


def _few(names: Sequence[str], most: int = 3) -> str:
    return ", ".join(names[:most]) + (", ..." if len(names) > most else "")
