"""What adapting a model changes on images that it was not adapted to."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from renorm.banks import Bank, Choice
from renorm.data import Images, in_order
from renorm.evaluate.scores import check_classes, outputs
from renorm.models import Classifier

FEW = 32  # images to adapt to, where nobody says how many


class Judged(NamedTuple):
    """Outputs for the same images.

    Args:
        before: With the source's statistics.
        after: With the adapted ones.
        images: Which.
        classes: Names of the model's outputs, if known.
    """

    before: Tensor
    after: Tensor
    images: Images
    classes: Sequence[str] = ()

    def labels(self) -> tuple[Tensor | None, str]:
        """The labels of the images in the order of the model's classes, or why they cannot be used."""
        if int(self.images.labels.min()) < 0:
            return None, f"{self.images.name} has images without a label"
        try:
            images = in_order(self.images, self.classes)
            check_classes(images, self.before.shape[1])
        except ValueError as error:
            return None, str(error)
        return images.labels, ""


def judge(
    classifier: Classifier,
    images: Images,
    source: Bank,
    branch: str | None = None,
    *,
    moved: bool = True,
    callback: Callable[[int], None] | None = None,
) -> Judged:
    """A model's outputs with its source's statistics and with those it has now.

    Args:
        classifier: The model, which is adapted already.
        images: To judge on.
        source: Its bank before.
        branch: Whose statistics these are.
        moved: Whether they moved at all; where not, nothing is computed twice.
        callback: Told how many images each batch had.
    """
    choices = {"before": Choice(branch, source)} | ({"after": Choice(branch)} if moved else {})
    parts: list[dict[str, Tensor]] = []
    for labels, found in outputs(classifier, images, choices):
        parts.append(found)
        if callback:
            callback(len(labels))
    before, *after = (torch.cat([part[name] for part in parts]) for name in choices)
    return Judged(before, after[0] if after else before, images, classifier.classes)


def divide(images: Images, num: int | None = None, seed: int = 0) -> tuple[Images, Images]:
    """So many images to adapt to, drawn with a seed, and the rest to judge on.

    Args:
        images: All there are.
        num: How many; by default 32, or all if there are fewer.
        seed: Of the draw.

    Raises:
        ValueError: There are not so many, or none is wanted.
    """
    num = min(FEW, len(images)) if num is None else num
    if not 1 <= num <= len(images):
        raise ValueError(
            f"--num-images {num} of {len(images)} images in {images.name}: 1 to {len(images)} is needed. Change it."
        )
    order = torch.randperm(len(images), generator=torch.Generator().manual_seed(seed))
    return images.subset(order[:num]), images.subset(order[num:])
