"""Blur of the lens."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from renorm.corruptions.draw import PerImage

# Standard deviation in pixels; published severity tables of Hendrycks & Dietterich, 2019.
GAUSSIAN_SIGMA = {32: (0.4, 0.6, 0.7, 0.8, 1.0), 224: (1.0, 2.0, 3.0, 4.0, 6.0)}
TRUNCATE = 4.0  # standard deviations, as in scikit-image


def gaussian_blur(x: Tensor, severity: int, draw: PerImage, scale: int) -> Tensor:
    """Convolve with a Gaussian; the border repeats the last pixel. Shape: ``(N, 3, H, W)``, kept."""
    weights = _gaussian(GAUSSIAN_SIGMA[scale][severity - 1])
    return _blur_rows(_blur_rows(x, weights).mT, weights).mT.clamp(0, 1).contiguous()


def _gaussian(sigma: float) -> list[float]:
    radius = int(TRUNCATE * sigma + 0.5)
    weights = [math.exp(-0.5 * (i / sigma) ** 2) for i in range(-radius, radius + 1)]
    return [weight / sum(weights) for weight in weights]


def _blur_rows(x: Tensor, weights: list[float]) -> Tensor:
    # Shifted sums, not a convolution: the result does not depend on the batch size to the last bit.
    radius, width = len(weights) // 2, x.shape[-1]
    padded = F.pad(x.contiguous(), (radius, radius, 0, 0), mode="replicate")
    total = torch.zeros_like(x, memory_format=torch.contiguous_format)
    for offset, weight in enumerate(weights):
        total.add_(padded[..., offset : offset + width], alpha=weight)
    return total
