"""Blur of the lens."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from renorm.corruptions.draw import PerImage

# Published severity tables of Hendrycks & Dietterich, 2019, for images of 32, 64 and 224 pixels.
MOTION = {  # radius and standard deviation in pixels
    32: ((6, 1), (6, 1.5), (6, 2), (8, 2), (9, 2.5)),
    64: ((10, 1), (10, 1.5), (10, 2), (10, 2.5), (12, 3)),
    224: ((10, 3), (15, 5), (15, 8), (15, 12), (20, 15)),
}
GAUSSIAN_SIGMA = {  # standard deviation in pixels
    32: (0.4, 0.6, 0.7, 0.8, 1.0),
    64: (0.5, 0.75, 1.0, 1.25, 1.5),
    224: (1.0, 2.0, 3.0, 4.0, 6.0),
}
TRUNCATE = 4.0  # standard deviations, as in scikit-image


def motion_blur(x: Tensor, severity: int, draw: PerImage, scale: int) -> Tensor:
    """Smear along a direction of -45 to 45 degrees, another one for each image. Shape: ``(N, 3, H, W)``, kept."""
    radius, sigma = MOTION[scale][severity - 1]
    return motion(x, radius, sigma, draw.uniform((1,), -45, 45).squeeze(1)).clamp_(0, 1)


def motion(x: Tensor, radius: int, sigma: float, degrees: Tensor) -> Tensor:
    r"""Average pixels on a ray from each pixel, weighted by half a Gaussian; the border repeats the last pixel.

    :math:`y(p) = \sum_{i=0}^{2r} w_i\, x(p + [i (\cos a, \sin a)])` with :math:`w_i \propto e^{-i^2 / 2 \sigma^2}` and
    offsets rounded to whole pixels, as ImageMagick does it.

    Shape: ``(N, C, H, W)``, kept; ``degrees`` is ``(N,)``, 0 to the right and 90 downwards.
    """
    weights = [math.exp(-0.5 * (i / sigma) ** 2) for i in range(2 * radius + 1)]
    reach, (height, width) = len(weights) - 1, x.shape[-2:]
    padded = F.pad(x.contiguous(), (reach,) * 4, mode="replicate")
    total = torch.zeros_like(x, memory_format=torch.contiguous_format)
    for image, out, angle in zip(padded, total, map(math.radians, degrees.tolist()), strict=True):
        for i, weight in enumerate(weights):
            top, left = (reach + math.ceil(i * along - 0.5) for along in (math.sin(angle), math.cos(angle)))
            out.add_(image[:, top : top + height, left : left + width], alpha=weight / sum(weights))
    return total


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
