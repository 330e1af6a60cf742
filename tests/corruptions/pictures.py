"""What the tests of corruptions share: images, lists of names, and how a batch is corrupted image by image."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
import torch
from torch import Tensor

from renorm.corruptions import HELD_OUT, SCALES, SEVERITIES, STANDARD, corrupt

NAMES = (*STANDARD, *HELD_OUT)
DETERMINISTIC = (
    *("defocus_blur", "zoom_blur", "brightness", "contrast", "pixelate", "jpeg_compression"),
    *("gaussian_blur", "saturate"),
)
every_name = pytest.mark.parametrize("name", NAMES)
every_severity = pytest.mark.parametrize("severity", SEVERITIES)
every_scale = pytest.mark.parametrize("scale", SCALES)


def pictures(num: int = 5, height: int = 19, width: int = 23, seed: int = 0) -> Tensor:
    """Coloured shapes with some texture, in [0, 1]. Shape: ``(num, 3, height, width)``."""
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.rand(num, 3, 4, 5, generator=generator)
    smooth = torch.nn.functional.interpolate(coarse, (height, width), mode="bilinear")
    return (smooth + 0.1 * torch.randn(smooth.shape, generator=generator)).clamp(0, 1)


def one_by_one(x: Tensor, name: str, severity: int, seeds: Sequence[int], scale: int | None = None) -> Tensor:
    """The same as corrupting the batch at once, if nothing depends on the batch."""
    return torch.cat([corrupt(x[i : i + 1], name, severity, [seed], scale) for i, seed in enumerate(seeds)])
