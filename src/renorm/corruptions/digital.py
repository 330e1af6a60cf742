"""What cameras, screens and files do to an image after it was taken."""

import io
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

from renorm.corruptions.random import PerImage
from renorm.extras import require

# Published severity tables of Hendrycks & Dietterich, 2019, for images of 32, 64 and 224 pixels.
CONTRAST = {
    32: (0.75, 0.5, 0.4, 0.3, 0.15),  # factor of the distance from the mean
    64: (0.4, 0.3, 0.2, 0.1, 0.05),
    224: (0.4, 0.3, 0.2, 0.1, 0.05),
}
PIXELATE = {  # side of the small image as a fraction
    32: (0.95, 0.9, 0.85, 0.75, 0.65),
    64: (0.9, 0.8, 0.7, 0.6, 0.5),
    224: (0.6, 0.5, 0.4, 0.3, 0.25),
}
JPEG_QUALITY = {32: (80, 65, 58, 50, 40), 64: (65, 58, 50, 40, 25), 224: (25, 18, 15, 10, 7)}
SATURATE = {  # saturation's factor and offset
    32: ((0.3, 0), (0.1, 0), (1.5, 0), (2, 0.1), (2.5, 0.2)),
    64: ((0.3, 0), (0.1, 0), (2, 0), (5, 0.1), (30, 0.2)),
    224: ((0.3, 0), (0.1, 0), (2, 0), (5, 0.1), (20, 0.2)),
}


def contrast(x: Tensor, severity: int, draw: PerImage, scale: int) -> Tensor:
    """Move every pixel towards its channel's mean in this image. Shape: ``(N, 3, H, W)``, kept."""
    mean = x.mean((2, 3), keepdim=True, dtype=torch.float64).to(x.dtype)
    return (x - mean).mul_(CONTRAST[scale][severity - 1]).add_(mean).clamp_(0, 1)


def saturate(x: Tensor, severity: int, draw: PerImage, scale: int) -> Tensor:
    r"""Scale and raise the saturation S of hue, saturation and value: ``S' = clip(factor S + offset, 0, 1)``.

    With :math:`V = \max_c x_c`, :math:`D = V - \min_c x_c` and :math:`S = D / V`, hue and value stay as they were
    when each channel becomes :math:`V (1 - S' (V - x_c) / D)`. A grey pixel has hue 0, red, as everywhere: an offset
    makes it reddish. Shape: ``(N, 3, H, W)``, kept.
    """
    factor, offset = SATURATE[scale][severity - 1]
    red, green, blue = x.unbind(1)
    value = torch.maximum(torch.maximum(red, green), blue)
    spread = value - torch.minimum(torch.minimum(red, green), blue)
    saturation = (spread / value.clamp(min=torch.finfo(x.dtype).tiny) * factor + offset).clamp(0, 1)
    saturated = torch.empty_like(x, memory_format=torch.contiguous_format)
    for channel, hue_of_grey in enumerate((0.0, 1.0, 1.0)):
        fading = torch.where(spread > 0, (value - x[:, channel]) / spread, hue_of_grey)
        saturated[:, channel] = value * (1 - saturation * fading)
    return saturated


def pixelate(x: Tensor, severity: int, draw: PerImage, scale: int) -> Tensor:
    """Shrink, then enlarge again to squares of one colour, both with Pillow's box filter.

    A pixel of the small image is the mean of the pixels whose centres lie in it. Shape: ``(N, 3, H, W)``, kept, as are
    bytes.
    """
    fraction = PIXELATE[scale][severity - 1]
    height, width = x.shape[-2:]
    # Always along the first dimension: rows of the whole batch are read several times as fast as pixels.
    levels = (x if x.dtype == torch.uint8 else x * 255).permute(2, 0, 1, 3).contiguous()
    lines = _box_means(levels, max(1, int(height * fraction)))
    columns = _box_means(lines.permute(3, 1, 2, 0).contiguous(), max(1, int(width * fraction)))
    lines = _repeat(columns, width).permute(3, 1, 2, 0).contiguous().div_(255)
    return _repeat(to_bytes(lines) if x.dtype == torch.uint8 else lines, height).permute(1, 2, 0, 3)


def _repeat(lines: Tensor, size: int) -> Tensor:
    """Which line each of ``size`` lines is in."""
    return lines.index_select(0, ((2 * torch.arange(size) + 1) * len(lines) // (2 * size)).to(lines.device))


def _box_means(lines: Tensor, size: int) -> Tensor:
    (first, _), *others = _boxes(len(lines), size, lines.device)
    column = (-1, 1, 1, 1)
    total, count = lines.index_select(0, first).to(torch.float32), torch.ones_like(first, dtype=torch.float32)
    for index, inside in others:
        total.addcmul_(lines.index_select(0, index).to(torch.float32), inside.view(column))
        count += inside
    return total.div_(count.view(column))


@lru_cache(maxsize=64)
def _boxes(length: int, size: int, device: torch.device) -> list[tuple[Tensor, Tensor]]:
    """The first, second, ... pixel of each of ``size`` boxes, and whether the box has so many: 1 or 0.

    Pixel i lies in box ceil((i + 1/2) size / length) - 1: a centre on an edge belongs to the box before it.
    """
    box = ((2 * torch.arange(length) + 1) * size - 1) // (2 * length)
    count = torch.bincount(box, minlength=size)
    first = count.cumsum(0) - count
    offsets = range(int(count.max()))
    return [((first + i).clamp(max=length - 1).to(device), (i < count).to(device, torch.float32)) for i in offsets]


def jpeg_compression(x: Tensor, severity: int, draw: PerImage, scale: int) -> Tensor:
    """Code as JPEG and decode again (Pillow on the CPU, chroma at half resolution).

    Shape: ``(N, 3, H, W)``, kept, as are bytes.
    """
    quality = JPEG_QUALITY[scale][severity - 1]
    planes = (x if x.dtype == torch.uint8 else to_bytes(x)).cpu().contiguous()
    decoded = torch.empty_like(planes)
    for image, out in zip(planes.numpy(), decoded.numpy(), strict=True):
        _jpeg(image, quality, out)
    decoded = decoded.to(x.device)
    return decoded if x.dtype == torch.uint8 else to_float(decoded)


def _jpeg(image: np.ndarray, quality: int, out: np.ndarray) -> None:
    # Pillow joins and splits colours faster than arrays are permuted.
    pillow, buffer = require("PIL.Image"), io.BytesIO()
    pillow.merge("RGB", [pillow.fromarray(plane) for plane in image]).save(buffer, "JPEG", quality=quality)
    for plane, band in zip(out, pillow.open(buffer, formats=("JPEG",)).split(), strict=True):
        plane[:] = np.asarray(band)


def to_float(x: Tensor) -> Tensor:
    """Contiguous single precision; bytes become level / 255."""
    x = x.contiguous()
    return x.to(torch.float32).div_(255) if x.dtype == torch.uint8 else x.to(torch.float32)


def to_bytes(x: Tensor) -> Tensor:
    """The nearest levels."""
    # By way of int16, as floating numbers become bytes four times slower.
    return x.mul(255).round_().to(torch.int16).to(torch.uint8)
