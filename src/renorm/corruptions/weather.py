"""Snow, fog and light."""

import math

import torch
from torch import Tensor
from torch.nn import functional

from renorm.corruptions.blur import motion
from renorm.corruptions.random import PerImage

# Published severity tables of Hendrycks & Dietterich, 2019, for images of 32, 64 and 224 pixels.
SNOW = {  # mean and standard deviation of the noise, zoom, threshold, radius and sigma of the motion, what is kept
    32: (
        (0.1, 0.2, 1, 0.6, 8, 3, 0.95),
        (0.1, 0.2, 1, 0.5, 10, 4, 0.9),
        (0.15, 0.3, 1.75, 0.55, 10, 4, 0.9),
        (0.25, 0.3, 2.25, 0.6, 12, 6, 0.85),
        (0.3, 0.3, 1.25, 0.65, 14, 12, 0.8),
    ),
    64: (
        (0.1, 0.2, 1, 0.6, 8, 3, 0.8),
        (0.1, 0.2, 1, 0.5, 10, 4, 0.8),
        (0.15, 0.3, 1.75, 0.55, 10, 4, 0.7),
        (0.25, 0.3, 2.25, 0.6, 12, 6, 0.65),
        (0.3, 0.3, 1.25, 0.65, 14, 12, 0.6),
    ),
    224: (
        (0.1, 0.3, 3, 0.5, 10, 4, 0.8),
        (0.2, 0.3, 2, 0.5, 12, 4, 0.7),
        (0.55, 0.3, 4, 0.9, 12, 8, 0.7),
        (0.55, 0.3, 4.5, 0.85, 12, 8, 0.65),
        (0.55, 0.3, 2.5, 0.85, 12, 12, 0.55),
    ),
}
FOG = {  # thickness, and by what each finer level of the fractal is weaker
    32: ((0.2, 3), (0.5, 3), (0.75, 2.5), (1, 2), (1.5, 1.75)),
    64: ((0.4, 3), (0.7, 3), (1, 2.5), (1.5, 2), (2, 1.75)),
    224: ((1.5, 2), (2, 2), (2.5, 1.7), (2.5, 1.5), (3, 1.4)),
}
BRIGHTNESS = {
    32: (0.05, 0.1, 0.15, 0.2, 0.3),
    64: (0.1, 0.2, 0.3, 0.4, 0.5),
    224: (0.1, 0.2, 0.3, 0.4, 0.5),
}
LUMA = (0.299, 0.587, 0.114)  # ITU-R BT.601


def snow(x: Tensor, severity: int, draw: PerImage, scale: int) -> Tensor:
    """Whiten the image and let flakes fall on it, and the same flakes turned by half a turn.

    Flakes are white noise, enlarged, cut off below a threshold and blurred along the direction of their fall, which is
    drawn for each image. Shape: ``(N, 3, H, W)``, kept.
    """
    mean, deviation, zoom, threshold, radius, sigma, kept = SNOW[scale][severity - 1]
    flakes = _zoomed_noise(draw, x, zoom) * deviation + mean
    flakes = flakes.masked_fill_(flakes < threshold, 0).clamp_(0, 1)
    flakes = motion(flakes, radius, sigma, draw.uniform((), -135, -45))
    grey = x[:, :1] * LUMA[0] + x[:, 1:2] * LUMA[1] + x[:, 2:] * LUMA[2]
    whitened = torch.maximum(x, grey.mul_(1.5).add_(0.5)).mul_(1 - kept).add_(x, alpha=kept)
    return whitened.add_(flakes + flakes.flip(-2, -1)).clamp_(0, 1)


def _zoomed_noise(draw: PerImage, x: Tensor, zoom: float) -> Tensor:
    # Only the middle that remains after the zoom is drawn.
    height, width = x.shape[-2:]
    small = math.ceil(height / zoom), math.ceil(width / zoom)
    noise = draw.normal((1, *small))
    large = round(small[0] * zoom), round(small[1] * zoom)
    enlarged = functional.interpolate(noise, large, mode="bilinear", align_corners=True)
    top, left = (large[0] - height) // 2, (large[1] - width) // 2
    return enlarged[..., top : top + height, left : left + width]


def fog(x: Tensor, severity: int, draw: PerImage, scale: int) -> Tensor:
    r"""Add a plasma fractal p in [0, 1], and darken so that the brightest stays as it was.

    :math:`m (x + t p) / (m + t)` with the image's maximum m and the thickness t. Shape: ``(N, 3, H, W)``, kept.
    """
    thickness, decay = FOG[scale][severity - 1]
    height, width = x.shape[-2:]
    plasma = plasma_fractal(draw, 1 << (max(height, width) - 1).bit_length(), decay)
    brightest = x.amax((1, 2, 3), keepdim=True)
    foggy = torch.add(x, plasma[:, None, :height, :width], alpha=thickness)
    return foggy.mul_(brightest / (brightest + thickness)).clamp_(0, 1)


def plasma_fractal(draw: PerImage, size: int, decay: float) -> Tensor:
    """A periodic landscape by the diamond-square algorithm, from 0 to 1.

    Each level halves the distance between points: a point in the middle of four others is their mean plus a
    uniform number of [-a, a], where a is divided by the square of ``decay`` from level to level.

    Shape: ``(N, size, size)``; ``size`` is a power of two.
    """
    numbers = draw.uniform((size * size,), -1, 1)
    height = torch.zeros(len(numbers), 1, 1, device=numbers.device)
    points, amplitude = 1, 1.0
    while points < size:
        square, above, beside = (
            amplitude * numbers[:, i * points**2 : (i + 1) * points**2].view(-1, points, points) for i in (1, 2, 3)
        )
        height = _halve_distances(height, square, above, beside)
        points, amplitude = 2 * points, amplitude / decay**2
    height = height - height.amin((1, 2), keepdim=True)
    return height.div_(height.amax((1, 2), keepdim=True).clamp_(min=torch.finfo(height.dtype).tiny))


def _halve_distances(corners: Tensor, squares: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    """Insert the middles of the squares, then the points between in the rows and in the columns of the corners."""
    pairs = corners + corners.roll(-1, 1)
    middles = squares.add_(pairs + pairs.roll(-1, 2), alpha=0.25)
    in_rows = rows.add_(middles + middles.roll(1, 1) + corners + corners.roll(-1, 2), alpha=0.25)
    in_columns = columns.add_(middles + middles.roll(1, 2) + pairs, alpha=0.25)
    upper = torch.stack((corners, in_rows), dim=3).flatten(2)
    lower = torch.stack((in_columns, middles), dim=3).flatten(2)
    return torch.stack((upper, lower), dim=2).flatten(1, 2)


def brightness(x: Tensor, severity: int, draw: PerImage, scale: int) -> Tensor:
    r"""Raise the value V of hue, saturation and value: :math:`x \min(V + b, 1) / V` with :math:`V = \max_c x_c`.

    Black, whose hue and saturation are 0, becomes grey. Shape: ``(N, 3, H, W)``, kept.
    """
    value = torch.maximum(torch.maximum(x[:, :1], x[:, 1:2]), x[:, 2:])
    brighter = (value + BRIGHTNESS[scale][severity - 1]).clamp(max=1)
    return torch.where(value > 0, x / value, 1).mul_(brighter)
