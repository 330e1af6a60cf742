"""Noise of the sensor."""

from torch import Tensor

from renorm.corruptions.draw import PerImage

# Standard deviation, images in [0, 1]; published severity tables of Hendrycks & Dietterich, 2019.
GAUSSIAN_SIGMA = {32: (0.04, 0.06, 0.08, 0.09, 0.10), 224: (0.08, 0.12, 0.18, 0.26, 0.38)}


def gaussian_noise(x: Tensor, severity: int, draw: PerImage, scale: int) -> Tensor:
    """Add white noise, different in every pixel and channel. Shape: ``(N, 3, H, W)``, kept."""
    noise = draw.normal(x.shape[1:]).to(x.device)
    return (x + GAUSSIAN_SIGMA[scale][severity - 1] * noise).clamp(0, 1)
