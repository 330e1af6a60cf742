"""Blur by the lens and by motion, and Gaussian smoothing."""

import math
from functools import cache, lru_cache
from typing import Literal

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from renorm.corruptions.random import PerImage

Border = Literal["nearest", "reflect"]  # aaa|abcd|ddd and cba|abcd|dcb, the names of scipy

# Published severity tables of Hendrycks & Dietterich, 2019, for images of 32, 64 and 224 pixels.
DEFOCUS = {  # radius of the disk and standard deviation of its edge, in pixels
    32: ((0.3, 0.4), (0.4, 0.5), (0.5, 0.6), (1, 0.2), (1.5, 0.1)),
    64: ((0.5, 0.6), (1, 0.1), (1.5, 0.1), (2.5, 0.01), (3, 0.1)),
    224: ((3, 0.1), (4, 0.5), (6, 0.5), (8, 0.5), (10, 0.5)),
}
MOTION = {  # radius and standard deviation in pixels
    32: ((6, 1), (6, 1.5), (6, 2), (8, 2), (9, 2.5)),
    64: ((10, 1), (10, 1.5), (10, 2), (10, 2.5), (12, 3)),
    224: ((10, 3), (15, 5), (15, 8), (15, 12), (20, 15)),
}
ZOOM = {  # factors from 1 to below the first number, in steps of the second
    32: ((1.06, 0.01), (1.11, 0.01), (1.16, 0.01), (1.21, 0.01), (1.26, 0.01)),
    64: ((1.06, 0.01), (1.11, 0.01), (1.16, 0.01), (1.21, 0.01), (1.26, 0.01)),
    224: ((1.11, 0.01), (1.16, 0.01), (1.21, 0.02), (1.26, 0.02), (1.31, 0.03)),
}
GAUSSIAN = {  # standard deviation in pixels
    32: (0.4, 0.6, 0.7, 0.8, 1.0),
    64: (0.5, 0.75, 1.0, 1.25, 1.5),
    224: (1.0, 2.0, 3.0, 4.0, 6.0),
}
TRUNCATE = 4.0  # standard deviations, as in scikit-image
MANY = 48  # weights; with more of them a Fourier transform is faster than shifted sums
NEGLIGIBLE = 1e-9


def defocus_blur(x: Tensor, severity: int, draw: PerImage, scale: int) -> Tensor:
    """Convolve with a disk whose edge is softened; the border mirrors the image. Shape: ``(N, 3, H, W)``, kept."""
    kernel = disk(*DEFOCUS[scale][severity - 1])
    padded = _mirror(x, len(kernel) // 2)
    taps = [(i, j, w) for i, row in enumerate(kernel.tolist()) for j, w in enumerate(row) if w > NEGLIGIBLE]
    return (_by_transform(padded, kernel) if len(taps) > MANY else _by_shifts(padded, taps, x.shape)).clamp_(0, 1)


@cache
def disk(radius: float, sigma: float) -> Tensor:
    """A disk of constant weight, smoothed by a Gaussian of 3 x 3 or (radius above 8) 5 x 5 weights.

    It lies in a square of 17 x 17, or of twice the radius, whose border mirrors what is smoothed, as published.

    Shape: float64 ``(K, K)``, K odd, without a frame of zeros.
    """
    reach, smooth = (8, 1) if radius <= 8 else (int(radius), 2)
    axis = torch.arange(-reach, reach + 1, dtype=torch.float64)
    inside = (axis[:, None] ** 2 + axis**2 <= radius**2).double()
    weights = torch.exp(-0.5 * (torch.arange(-smooth, smooth + 1, dtype=torch.float64) / sigma) ** 2)
    soft = (weights[:, None] * weights / weights.sum() ** 2)[None, None]
    kernel = F.conv2d(_mirror((inside / inside.sum())[None, None], smooth), soft)[0, 0]
    empty = int((kernel.amax(0) > NEGLIGIBLE).nonzero()[0])
    return kernel[empty : len(kernel) - empty, empty : len(kernel) - empty]


def _mirror(x: Tensor, border: int) -> Tensor:
    # A border as wide as the image or wider is mirrored in steps, each of which ends on the image's own border.
    down = right = border
    while down or right:
        step_down, step_right = min(down, x.shape[-2] - 1), min(right, x.shape[-1] - 1)
        x = F.pad(x, (step_right, step_right, step_down, step_down), mode="reflect")
        down, right = down - step_down, right - step_right
    return x


def _by_shifts(padded: Tensor, taps: list[tuple[int, int, float]], shape: torch.Size) -> Tensor:
    # Sums of shifted images, not a convolution: to the last bit the result does not depend on the batch size.
    parts = [(padded[..., top : top + shape[-2], left : left + shape[-1]], weight) for top, left, weight in taps]
    total = torch.mul(*parts[0])
    for part, weight in parts[1:]:
        total.add_(part, alpha=weight)
    return total


def _by_transform(padded: Tensor, kernel: Tensor) -> Tensor:
    # One image at a time: libraries may order the sums of a transform by the number of transforms.
    border, size = len(kernel) - 1, [_fast_length(length) for length in padded.shape[-2:]]
    spectrum = torch.fft.rfft2(kernel.to(padded), s=size)
    parts = [torch.fft.irfft2(torch.fft.rfft2(image, s=size) * spectrum, s=size) for image in padded]
    return torch.stack(parts)[..., border : padded.shape[-2], border : padded.shape[-1]].contiguous()


def _fast_length(length: int) -> int:
    """The next multiple of 8 without a prime factor above 5."""
    candidates = range(-(-length // 8) * 8, 2 * length + 8, 8)
    return next(n for n in candidates if 60**16 % n == 0)


def motion_blur(x: Tensor, severity: int, draw: PerImage, scale: int) -> Tensor:
    """Smear along a direction of -45 to 45 degrees, another one for each image. Shape: ``(N, 3, H, W)``, kept."""
    radius, sigma = MOTION[scale][severity - 1]
    return motion(x, radius, sigma, draw.uniform((), -45, 45)).clamp_(0, 1)


def motion(x: Tensor, radius: int, sigma: float, degrees: Tensor) -> Tensor:
    r"""Average pixels on a ray from each pixel, weighted by half a Gaussian; the border repeats the last pixel.

    :math:`y(p) = \sum_{i=0}^{2r} w_i\, x(p + [i (\cos a, \sin a)])` with :math:`w_i \propto e^{-i^2 / 2 \sigma^2}` and
    offsets rounded to whole pixels, as ImageMagick does it.

    Shape: ``(N, C, H, W)``, kept; ``degrees`` is ``(N,)``, 0 to the right and 90 downwards.
    """
    weights = [math.exp(-0.5 * (i / sigma) ** 2) for i in range(2 * radius + 1)]
    reach, total = 2 * radius, sum(weights)
    padded = F.pad(x.contiguous(), (reach,) * 4, mode="replicate")
    parts = []
    for image, angle in zip(padded.split(1), map(math.radians, degrees.tolist()), strict=True):
        down, right = math.sin(angle), math.cos(angle)
        taps = [
            (reach + math.ceil(i * down - 0.5), reach + math.ceil(i * right - 0.5), weight / total)
            for i, weight in enumerate(weights)
        ]
        parts.append(_by_shifts(image, taps, x[:1].shape))
    return torch.cat(parts)


def zoom_blur(x: Tensor, severity: int, draw: PerImage, scale: int) -> Tensor:
    """Average the image and its middle enlarged linearly by growing factors. Shape: ``(N, 3, H, W)``, kept."""
    stop, step = ZOOM[scale][severity - 1]
    factors = np.arange(1, stop, step).tolist()  # sizes depend on their last bit
    lines = x.permute(2, 0, 1, 3).contiguous()  # whole rows of the batch, which are copied at once
    columns = torch.zeros_like(x.permute(3, 0, 1, 2), memory_format=torch.contiguous_format)
    for factor in factors:
        columns += _enlarge(_enlarge(lines, factor).permute(3, 1, 2, 0).contiguous(), factor)
    return (x + columns.permute(1, 2, 3, 0)).div_(len(factors) + 1).clamp_(0, 1)


def _enlarge(lines: Tensor, factor: float) -> Tensor:
    """The middle along the first dimension, enlarged linearly to the whole length, corners on corners."""
    above, below, weight = (each.to(lines.device) for each in _rows(len(lines), factor))
    return torch.lerp(lines.index_select(0, above), lines.index_select(0, below), weight)


@lru_cache(maxsize=256)
def _rows(height: int, factor: float) -> tuple[Tensor, Tensor, Tensor]:
    """Between which rows each row of the enlarged middle lies, and where."""
    small = math.ceil(height / factor)
    large = round(small * factor)
    place = (torch.arange(height, dtype=torch.float64) + (large - height) // 2) * ((small - 1) / (large - 1))
    above = place.floor().clamp(max=small - 2)
    first = above.to(torch.int64) + (height - small) // 2
    return first, first + 1, (place - above).float().view(-1, 1, 1, 1)


def gaussian_blur(x: Tensor, severity: int, draw: PerImage, scale: int) -> Tensor:
    """Convolve with a Gaussian; the border repeats the last pixel. Shape: ``(N, 3, H, W)``, kept."""
    return gaussian(x, GAUSSIAN[scale][severity - 1]).clamp_(0, 1)


def gaussian(x: Tensor, sigma: float) -> Tensor:
    """Convolve with a Gaussian cut at four standard deviations; the border repeats. Shape: ``(N, C, H, W)``, kept."""
    radius = int(TRUNCATE * sigma + 0.5)
    weights = [math.exp(-0.5 * (i / sigma) ** 2) for i in range(-radius, radius + 1)]
    down = [(i, 0, weight / sum(weights)) for i, weight in enumerate(weights)]
    padded = F.pad(x.contiguous(), (radius,) * 4, mode="replicate")
    tall = _by_shifts(padded, down, torch.Size((*x.shape[:3], padded.shape[3])))
    return _by_shifts(tall, [(0, i, weight) for i, _, weight in down], x.shape)


def smooth(x: Tensor, sigma: float, border: Border = "nearest", truncate: float = 4.0) -> Tensor:
    r"""Convolve with a sampled Gaussian of ``sigma`` pixels that ends after ``truncate`` of them.

    :math:`A_H\, x\, A_W^T`, where row i of :math:`A_n` has the weights of pixel i's neighbours, those beyond the border
    added to the pixels that stand for them. Shape: ``(..., H, W)``, kept.

    Example:
        >>> smooth(torch.ones(1, 4, 5), sigma=30.0, border="reflect").sum().item()
        20.0
    """
    height, width = x.shape[-2:]
    # A GPU rounds the factors of float32 products to 10 bits where the user allows it.
    dtype = torch.float64 if x.is_cuda else x.dtype
    rows, columns = (_weights(n, sigma, border, truncate).to(x.device, dtype) for n in (height, width))
    smoothed = torch.empty_like(x, memory_format=torch.contiguous_format)
    with torch.autocast(x.device.type, enabled=False):
        for image, out in zip(x.view(-1, height, width), smoothed.view(-1, height, width), strict=True):
            # One product per image, each from a fresh copy: the last bit of a product can depend on the size of the
            # batch and on where in memory it starts.
            out.copy_(rows @ image.to(dtype, copy=True) @ columns.T)
    return smoothed


@lru_cache(maxsize=16)
def _weights(length: int, sigma: float, border: Border, truncate: float) -> Tensor:
    """What each of ``length`` pixels gets from each. Shape: float64 ``(length, length)``, rows sum to 1."""
    radius = int(truncate * sigma + 0.5)
    offset = torch.arange(-radius, radius + 1)
    weight = torch.exp(-0.5 * (offset.double() / max(sigma, math.ulp(0.0))).square())
    neighbour = torch.arange(length)[:, None] + offset
    if border == "reflect":
        neighbour = neighbour % (2 * length)
        neighbour = torch.minimum(neighbour, 2 * length - 1 - neighbour)
    neighbour = neighbour.clamp(0, length - 1)
    return torch.zeros(length, length, dtype=torch.float64).scatter_add_(
        1, neighbour, (weight / weight.sum()).expand(length, -1)
    )
