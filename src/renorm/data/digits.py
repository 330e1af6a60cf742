"""The digits that scikit-learn carries."""

from __future__ import annotations

import torch
import torch.nn.functional as F

from renorm.data.images import Images
from renorm.data.splits import TRAIN_AND_TEST, choose, indices_of
from renorm.extras import require

HOLDOUT = 0.25
MEAN = (0.305, 0.305, 0.305)  # of all 1,797 images at 16 x 16, as are the standard deviations
STD = (0.319, 0.319, 0.319)


def load_digits(split: str | None, size: int | None = None) -> Images:
    """The 1,797 handwritten digits, 8 x 8 and 17 grey levels, enlarged to RGB.

    A quarter of each class, drawn once and for all, is the test split: 1,347 images to train on and 450 to test.

    Args:
        split: ``"train"`` or ``"test"``.
        size: side in pixels, 16 unless given.

    Reference: Alpaydin & Kaynak, *Optical Recognition of Handwritten Digits*, UCI, 1998 (its test part).
    """
    (part,) = choose("digits", split, TRAIN_AND_TEST, holdout=0)
    digits = require("sklearn.datasets").load_digits()
    labels = torch.from_numpy(digits.target).long()
    grey = torch.from_numpy(digits.images).float()[:, None] * (255 / 16)
    side = size or 16
    enlarged = F.interpolate(grey, size=(side, side), mode="bilinear", align_corners=False)
    pixels = enlarged.round().to(torch.uint8).expand(-1, 3, -1, -1)
    indices = indices_of(labels, part, HOLDOUT)
    return Images("digits", pixels[indices], labels[indices], [str(i) for i in range(10)], mean=MEAN, std=STD)
