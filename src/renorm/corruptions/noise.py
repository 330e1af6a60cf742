"""Noise of the sensor."""

from torch import Tensor

from renorm.corruptions.draw import PerImage

# Published severity tables of Hendrycks & Dietterich, 2019, for images of 32, 64 and 224 pixels in [0, 1].
GAUSSIAN = {  # standard deviation
    32: (0.04, 0.06, 0.08, 0.09, 0.10),
    64: (0.04, 0.08, 0.12, 0.15, 0.18),
    224: (0.08, 0.12, 0.18, 0.26, 0.38),
}
IMPULSE = {  # share of the values that are lost
    32: (0.01, 0.02, 0.03, 0.05, 0.07),
    64: (0.01, 0.02, 0.05, 0.08, 0.14),
    224: (0.03, 0.06, 0.09, 0.17, 0.27),
}
SPECKLE = {  # standard deviation relative to the value
    32: (0.06, 0.10, 0.12, 0.16, 0.20),
    64: (0.15, 0.20, 0.25, 0.30, 0.35),
    224: (0.15, 0.20, 0.35, 0.45, 0.60),
}


def gaussian_noise(x: Tensor, severity: int, draw: PerImage, scale: int) -> Tensor:
    """Add white noise, different in every pixel and channel. Shape: ``(N, 3, H, W)``, kept."""
    return draw.normal(x.shape[1:]).mul_(GAUSSIAN[scale][severity - 1]).add_(x).clamp_(0, 1)


def impulse_noise(x: Tensor, severity: int, draw: PerImage, scale: int) -> Tensor:
    """Set a share of the values, each channel's by itself, to 0 or 1 alike. Shape: ``(N, 3, H, W)``, kept."""
    share = IMPULSE[scale][severity - 1]
    number = draw.uniform(x.shape[1:])
    return x.masked_fill(number < share / 2, 0.0).masked_fill_(number >= 1 - share / 2, 1.0)


def speckle_noise(x: Tensor, severity: int, draw: PerImage, scale: int) -> Tensor:
    """Multiply by white noise around 1. Shape: ``(N, 3, H, W)``, kept."""
    return draw.normal(x.shape[1:]).mul_(SPECKLE[scale][severity - 1]).add_(1).mul_(x).clamp_(0, 1)
