"""What cameras and files do to an image after it was taken."""

import io

import numpy as np
import torch
from torch import Tensor

from renorm.corruptions.draw import PerImage
from renorm.extras import require

# Published severity tables of Hendrycks & Dietterich, 2019: the factor of contrast, the quality of JPEG in 1..95.
CONTRAST = {32: (0.75, 0.5, 0.4, 0.3, 0.15), 224: (0.4, 0.3, 0.2, 0.1, 0.05)}
JPEG_QUALITY = {32: (80, 65, 58, 50, 40), 224: (25, 18, 15, 10, 7)}


def contrast(x: Tensor, severity: int, draw: PerImage, scale: int) -> Tensor:
    """Move every pixel towards its channel's mean in this image. Shape: ``(N, 3, H, W)``, kept."""
    mean = x.mean((2, 3), keepdim=True, dtype=torch.float64).to(x.dtype)
    return ((x - mean) * CONTRAST[scale][severity - 1] + mean).clamp(0, 1)


def jpeg_compression(x: Tensor, severity: int, draw: PerImage, scale: int) -> Tensor:
    """Code as JPEG and decode again (Pillow, chroma at half resolution). Shape: ``(N, 3, H, W)``, kept."""
    pixels = (x * 255).round().to("cpu", torch.uint8).permute(0, 2, 3, 1).numpy()
    quality = JPEG_QUALITY[scale][severity - 1]
    decoded = np.stack([_jpeg(image, quality) for image in pixels])
    return torch.from_numpy(decoded).permute(0, 3, 1, 2).to(x.device).to(x.dtype).div(255).contiguous()


def _jpeg(image: np.ndarray, quality: int) -> np.ndarray:
    pillow = require("PIL.Image")
    buffer = io.BytesIO()
    pillow.fromarray(image).save(buffer, "JPEG", quality=quality)
    return np.asarray(pillow.open(buffer))
