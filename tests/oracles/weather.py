"""Weather on one image at a time, pixel by pixel, in float64: (H, W, 3) arrays and the random numbers go in."""

import math

import numpy as np

# Typed from the published scripts a second time.
BRIGHTNESS = {32: [0.05, 0.1, 0.15, 0.2, 0.3], 64: [0.1, 0.2, 0.3, 0.4, 0.5], 224: [0.1, 0.2, 0.3, 0.4, 0.5]}
FOG = {
    32: [(0.2, 3), (0.5, 3), (0.75, 2.5), (1, 2), (1.5, 1.75)],
    64: [(0.4, 3), (0.7, 3), (1, 2.5), (1.5, 2), (2, 1.75)],
    224: [(1.5, 2), (2, 2), (2.5, 1.7), (2.5, 1.5), (3, 1.4)],
}
FROST = {
    32: [(1, 0.2), (1, 0.3), (0.9, 0.4), (0.85, 0.4), (0.75, 0.45)],
    64: [(1, 0.3), (0.9, 0.4), (0.8, 0.45), (0.75, 0.5), (0.7, 0.55)],
    224: [(1, 0.4), (0.8, 0.6), (0.7, 0.7), (0.65, 0.7), (0.6, 0.75)],
}
_SMALL_SNOW = [(0.1, 0.2, 1, 0.6, 8, 3), (0.1, 0.2, 1, 0.5, 10, 4), (0.15, 0.3, 1.75, 0.55, 10, 4)]
_SMALL_SNOW += [(0.25, 0.3, 2.25, 0.6, 12, 6), (0.3, 0.3, 1.25, 0.65, 14, 12)]
SNOW = {
    32: [(*row, kept) for row, kept in zip(_SMALL_SNOW, (0.95, 0.9, 0.9, 0.85, 0.8), strict=True)],
    64: [(*row, kept) for row, kept in zip(_SMALL_SNOW, (0.8, 0.8, 0.7, 0.65, 0.6), strict=True)],
    224: [
        (0.1, 0.3, 3, 0.5, 10, 4, 0.8),
        (0.2, 0.3, 2, 0.5, 12, 4, 0.7),
        (0.55, 0.3, 4, 0.9, 12, 8, 0.7),
        (0.55, 0.3, 4.5, 0.85, 12, 8, 0.65),
        (0.55, 0.3, 2.5, 0.85, 12, 12, 0.55),
    ],
}


def plasma(numbers: np.ndarray, size: int, decay: float) -> np.ndarray:
    """Diamonds and squares on a torus; ``numbers`` of [-1, 1] in the order of levels, each squares, rows, columns."""
    height = np.zeros((size, size))
    step, amplitude, points = size, 1.0, 1
    while step >= 2:
        half = step // 2

        def at(row: int, column: int) -> float:
            return height[row % size, column % size]

        def number(kind: int, i: int, j: int, points: int = points, amplitude: float = amplitude) -> float:
            return amplitude * numbers[kind * points**2 + i * points + j]

        corners = [(i, j, i * step, j * step) for i in range(points) for j in range(points)]
        for i, j, y, x in corners:
            around = at(y, x) + at(y + step, x) + at(y, x + step) + at(y + step, x + step)
            height[y + half, x + half] = around / 4 + number(1, i, j)
        for i, j, y, x in corners:
            around = at(y, x) + at(y, x + step) + at(y - half, x + half) + at(y + half, x + half)
            height[y, x + half] = around / 4 + number(2, i, j)
            around = at(y, x) + at(y + step, x) + at(y + half, x - half) + at(y + half, x + half)
            height[y + half, x] = around / 4 + number(3, i, j)
        step, amplitude, points = half, amplitude / decay**2, 2 * points
    return (height - height.min()) / (height.max() - height.min())


def fog(image: np.ndarray, severity: int, scale: int, numbers: np.ndarray) -> np.ndarray:
    thickness, decay = FOG[scale][severity - 1]
    size = 1
    while size < max(image.shape[:2]):
        size *= 2
    layer = plasma(numbers, size, decay)[: image.shape[0], : image.shape[1], None]
    return np.clip((image + thickness * layer) * image.max() / (image.max() + thickness), 0, 1)


def enlarged(small: np.ndarray, height: int, width: int) -> np.ndarray:
    """Linear interpolation with corners on corners."""
    out = np.empty((height, width))
    for i in range(height):
        for j in range(width):
            y, x = (
                n * (a - 1) / max(b - 1, 1) for n, a, b in ((i, small.shape[0], height), (j, small.shape[1], width))
            )
            top, left = min(int(y), small.shape[0] - 1), min(int(x), small.shape[1] - 1)
            bottom, right = min(top + 1, small.shape[0] - 1), min(left + 1, small.shape[1] - 1)
            upper = small[top, left] * (1 - x + left) + small[top, right] * (x - left)
            lower = small[bottom, left] * (1 - x + left) + small[bottom, right] * (x - left)
            out[i, j] = upper * (1 - y + top) + lower * (y - top)
    return out


def moved(layer: np.ndarray, radius: int, sigma: float, degrees: float) -> np.ndarray:
    """Each pixel is a weighted mean of those ahead of it on its ray; the border repeats."""
    height, width = layer.shape
    weights = np.array([math.exp(-(i**2) / (2 * sigma**2)) for i in range(2 * radius + 1)])
    down, across = math.sin(math.radians(degrees)), math.cos(math.radians(degrees))
    out = np.zeros_like(layer)
    for y in range(height):
        for x in range(width):
            for i, weight in enumerate(weights / weights.sum()):
                row = min(max(y + math.ceil(i * down - 0.5), 0), height - 1)
                column = min(max(x + math.ceil(i * across - 0.5), 0), width - 1)
                out[y, x] += weight * layer[row, column]
    return out


def snow(image: np.ndarray, severity: int, scale: int, noise: np.ndarray, degrees: float) -> np.ndarray:
    mean, deviation, factor, threshold, radius, sigma, kept = SNOW[scale][severity - 1]
    height, width = image.shape[:2]
    large = enlarged(mean + deviation * noise, *(round(n * factor) for n in noise.shape))
    top, left = (large.shape[0] - height) // 2, (large.shape[1] - width) // 2
    layer = large[top : top + height, left : left + width]
    layer = moved(np.where(layer < threshold, 0, np.clip(layer, 0, 1)), radius, sigma, degrees)
    grey = image @ [0.299, 0.587, 0.114]
    white = np.maximum(image, 1.5 * grey[..., None] + 0.5)
    return np.clip(kept * image + (1 - kept) * white + (layer + np.rot90(layer, 2))[..., None], 0, 1)
