"""Water and mud on the lens."""

import torch
from torch import Tensor
from torch.nn import functional

from renorm.corruptions.draw import PerImage
from renorm.corruptions.edges import canny, distance_to, shifted
from renorm.corruptions.gaussian import smooth

# Published severity tables of Hendrycks & Dietterich, 2019, for images of 32, 64 and 224 pixels: mean and standard
# deviation of the noise, smoothness and threshold of the liquid, strength of water or smoothness of mud, whether mud.
SPATTER = {
    32: (
        (0.62, 0.1, 0.7, 0.7, 0.5, False),
        (0.65, 0.1, 0.8, 0.7, 0.5, False),
        (0.65, 0.3, 1, 0.69, 0.5, False),
        (0.65, 0.1, 0.7, 0.69, 0.6, True),
        (0.65, 0.1, 0.5, 0.68, 0.6, True),
    ),
    64: (
        (0.62, 0.1, 0.7, 0.7, 0.6, False),
        (0.65, 0.1, 0.8, 0.7, 0.6, False),
        (0.65, 0.3, 1, 0.69, 0.6, False),
        (0.65, 0.1, 0.7, 0.68, 0.6, True),
        (0.65, 0.1, 0.5, 0.67, 0.6, True),
    ),
    224: (
        (0.65, 0.3, 4, 0.69, 0.6, False),
        (0.65, 0.3, 3, 0.68, 0.6, False),
        (0.65, 0.3, 2, 0.68, 0.5, False),
        (0.65, 0.3, 1, 0.65, 1.5, True),
        (0.67, 0.4, 1, 0.65, 1.5, True),
    ),
}
WATER = (175 / 255, 238 / 255, 238 / 255)  # pale turquoise
MUD = (63 / 255, 42 / 255, 20 / 255)
OPAQUE = 0.8  # thinner mud is not there
FARTHEST = 20  # pixels from an edge that matter
RELIEF = ((-2, -1, 0), (-1, 1, 1), (0, 1, 2))


def spatter(x: Tensor, severity: int, draw: PerImage, scale: int) -> Tensor:
    """Throw drops of water (severity 1 to 3) or mud (4 and 5) on the lens: smoothed noise above a threshold.

    Shape: ``(N, 3, H, W)``, kept.
    """
    mean, deviation, sigma, threshold, strength, is_mud = SPATTER[scale][severity - 1]
    liquid = smooth(mean + deviation * draw.normal((1, *x.shape[-2:])), sigma)
    if is_mud:
        mud = smooth((liquid > threshold).to(x.dtype), strength)
        mud = torch.where(mud < OPAQUE, 0, mud)
        return (x * (1 - mud) + _colour(MUD, x) * mud).clamp_(0, 1)
    drops = _shaded(torch.where(liquid < threshold, 0, liquid))
    return (x + _colour(WATER, x) * (drops * strength)).clamp_(0, 1)


def _colour(rgb: tuple[float, ...], x: Tensor) -> Tensor:
    return torch.tensor(rgb, device=x.device, dtype=x.dtype).view(3, 1, 1)


def _shaded(liquid: Tensor) -> Tensor:
    """Drops with a light and a dark side, at most 1: processing of 8-bit images, as in the reference."""
    level = (liquid * 255).floor_().clamp_(max=255)
    distance = distance_to(canny(level, low=50, high=150), FARTHEST)
    height = functional.pad(_equalized(_mean3(distance).floor_().long()), (1, 1, 1, 1), mode="reflect")
    light = torch.zeros_like(level)
    for weights, row in zip(RELIEF, shifted(height, -2), strict=True):
        for weight, part in zip(weights, shifted(row, -1), strict=True):
            light.add_(part, alpha=weight)
    shaded = level * _mean3(light.clamp_(0, 255)).round_()
    return shaded / shaded.amax((2, 3), keepdim=True).clamp(min=1)


def _mean3(x: Tensor) -> Tensor:
    """Mean of 3 x 3 pixels; the border mirrors its neighbours."""
    first, second, third = shifted(functional.pad(x, (1, 1, 1, 1), mode="reflect"), -2)
    first, second, third = shifted(first + second + third, -1)
    return (first + second + third).div_(9)


def _equalized(x: Tensor) -> Tensor:
    """Map the integers 0 to ``FARTHEST`` to 0 to 255 so that each image's histogram is even; one value alone stays."""
    images = torch.arange(len(x), device=x.device).view(-1, 1, 1, 1)
    histogram = torch.bincount((x + images * (FARTHEST + 1)).flatten(), minlength=len(x) * (FARTHEST + 1))
    below = histogram.view(len(x), -1).cumsum(1)
    darkest = torch.where(below > 0, below, below[:, -1:]).amin(1, keepdim=True)
    others = below[:, -1:] - darkest
    mapped = ((below - darkest) * (255 / others.clamp(min=1).to(torch.float32))).round_()
    mapped = torch.where(others > 0, mapped, torch.arange(FARTHEST + 1, device=x.device))
    return mapped.gather(1, x.flatten(1)).view(x.shape)
