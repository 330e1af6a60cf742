"""Blurs, one pixel at a time, and scipy's spline zoom."""

import math

import numpy as np
from scipy import ndimage


def defocus(image, radius, sigma):
    """Correlate (H, W, C) with a softened disk, mirrored without repeating the border."""
    reach, smooth = (8, 1) if radius <= 8 else (int(radius), 2)
    disk = np.array(
        [[float(i * i + j * j <= radius**2) for j in range(-reach, reach + 1)] for i in range(-reach, reach + 1)]
    )
    disk /= disk.sum()
    soft = np.array([math.exp(-i * i / (2 * sigma**2)) for i in range(-smooth, smooth + 1)])
    soft /= soft.sum()
    for axis in (0, 1):
        disk = ndimage.correlate1d(disk, soft, axis=axis, mode="mirror")
    return np.stack([ndimage.correlate(image[..., c], disk, mode="mirror") for c in range(image.shape[2])], axis=2)


def gaussian(image, sigma):
    """Convolve (H, W, C), the border repeated."""
    return ndimage.gaussian_filter(image, (sigma, sigma, 0), mode="nearest", truncate=4.0)


def motion(image, radius, sigma, degrees):
    """Average (H, W, C) along a ray of 2 radius + 1 steps."""
    height, width = image.shape[:2]
    weights = [math.exp(-i * i / (2 * sigma * sigma)) / (math.sqrt(2 * math.pi) * sigma) for i in range(2 * radius + 1)]
    out = np.zeros_like(image)
    for y in range(height):
        for x in range(width):
            for i, weight in enumerate(weights):
                down = math.ceil(i * math.sin(math.radians(degrees)) - 0.5)
                right = math.ceil(i * math.cos(math.radians(degrees)) - 0.5)
                source = image[min(max(y + down, 0), height - 1), min(max(x + right, 0), width - 1)]
                out[y, x] += weight / sum(weights) * source
    return out


def zooms(image, factors):
    """The mean of (H, W, C) and of its middle enlarged by each factor."""
    total = image.copy()
    for factor in factors:
        part = image
        for axis in (0, 1):
            length = part.shape[axis]
            keep = math.ceil(length / factor)
            part = np.take(part, range((length - keep) // 2, (length - keep) // 2 + keep), axis=axis)
        large = ndimage.zoom(part, (factor, factor, 1), order=1)
        top, left = ((large.shape[i] - image.shape[i]) // 2 for i in (0, 1))
        total = total + large[top : top + image.shape[0], left : left + image.shape[1]]
    return total / (len(factors) + 1)


def glass(image, sigma, reach, choices):
    """Visit the pixels of (H, W, C) from the last to the first; ``choices`` (rounds, H, W) number the offsets."""
    height, width = image.shape[:2]
    pixels = np.floor(gaussian(image, sigma) * 255 + 1e-4) / 255
    for choice in choices:
        for y in range(height - reach, reach, -1):
            for x in range(width - reach, reach, -1):
                down, right = divmod(int(choice[y, x]), 2 * reach)
                pixels[y, x] = pixels[y + down - reach, x + right - reach]
    return gaussian(pixels, sigma)
