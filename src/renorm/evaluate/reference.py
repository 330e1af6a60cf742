"""How far a model's images of the normal condition are from its source, and what well-known shifts add to that."""

from __future__ import annotations

import torch

from renorm.adapt import Reference
from renorm.banks import Branch
from renorm.corruptions import corrupt
from renorm.data import Images, sample
from renorm.models import Classifier

KNOWN = tuple((name, severity) for name in ("fog", "contrast", "gaussian_noise") for severity in (1, 3, 5))
MOST = 64  # images, whose ten forwards take seconds


def reference_of(classifier: Classifier, images: Images, branch: Branch = None, seed: int = 0) -> Reference:
    """The reference of images of the normal condition, with the distances of fog, contrast and gaussian noise at 1, 3 and 5.

    Args:
        classifier: The model.
        images: Unlabelled; at most 64 of them are taken, drawn with the seed.
        branch: Whose statistics are the source.
        seed: Of the draw and the corruptions.
    """
    few = sample(images, min(MOST, len(images)), seed)
    pixels, _ = few.batch(range(len(few)))
    seeds = torch.arange(len(few)) + seed * len(few)
    shifted = {
        f"{name.replace('_', ' ')} {severity}": classifier.normalize(corrupt(pixels, name, severity, seeds))
        for name, severity in KNOWN
    }
    return Reference.of(classifier.model, classifier.normalize(pixels), branch, shifted=shifted)
