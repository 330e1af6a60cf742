"""Drops on the lens, pixel by pixel: edges by angles, distances to every edge, histograms by counting."""

import math

import numpy as np
from scipy import ndimage

# Typed from the published scripts a second time.
SPATTER = {
    32: [
        (0.62, 0.1, 0.7, 0.7, 0.5),
        (0.65, 0.1, 0.8, 0.7, 0.5),
        (0.65, 0.3, 1, 0.69, 0.5),
        (0.65, 0.1, 0.7, 0.69, 0.6),
        (0.65, 0.1, 0.5, 0.68, 0.6),
    ],
    64: [
        (0.62, 0.1, 0.7, 0.7, 0.6),
        (0.65, 0.1, 0.8, 0.7, 0.6),
        (0.65, 0.3, 1, 0.69, 0.6),
        (0.65, 0.1, 0.7, 0.68, 0.6),
        (0.65, 0.1, 0.5, 0.67, 0.6),
    ],
    224: [
        (0.65, 0.3, 4, 0.69, 0.6),
        (0.65, 0.3, 3, 0.68, 0.6),
        (0.65, 0.3, 2, 0.68, 0.5),
        (0.65, 0.3, 1, 0.65, 1.5),
        (0.67, 0.4, 1, 0.65, 1.5),
    ],
}


def canny(image: np.ndarray, low: float, high: float) -> np.ndarray:
    height, width = image.shape
    padded = np.pad(image.astype(int), 1, mode="edge")
    dx, dy, magnitude = np.zeros((3, height + 2, width + 2), int)
    for y in range(1, height + 1):
        for x in range(1, width + 1):
            window = padded[y - 1 : y + 2, x - 1 : x + 2]
            dx[y, x] = (window * [[-1, 0, 1], [-2, 0, 2], [-1, 0, 1]]).sum()
            dy[y, x] = (window * [[-1, -2, -1], [0, 0, 0], [1, 2, 1]]).sum()
            magnitude[y, x] = abs(dx[y, x]) + abs(dy[y, x])
    ridge = set()
    for y in range(1, height + 1):
        for x in range(1, width + 1):
            angle = math.degrees(math.atan2(dy[y, x], dx[y, x])) % 180
            down, across = [(0, 1), (1, 1), (1, 0), (1, -1)][int((angle + 22.5) // 45) % 4]
            before, after = magnitude[y - down, x - across], magnitude[y + down, x + across]
            higher = magnitude[y, x] > after or (magnitude[y, x] == after and 0 in (down, across))
            if magnitude[y, x] > low and magnitude[y, x] > before and higher:
                ridge.add((y, x))
    found = [place for place in ridge if magnitude[place] > high]
    edges = set(found)
    while found:
        y, x = found.pop()
        near = {(y + i, x + j) for i in (-1, 0, 1) for j in (-1, 0, 1)} & ridge - edges
        edges |= near
        found.extend(near)
    return np.array([[(y, x) in edges for x in range(1, width + 1)] for y in range(1, height + 1)])


def distance(mask: np.ndarray, farthest: float) -> np.ndarray:
    out = np.full(mask.shape, float(farthest))
    for row, column in np.argwhere(mask):
        down, across = abs(np.indices(mask.shape) - [[[row]], [[column]]])
        short, long = np.minimum(down, across), np.maximum(down, across)
        knights = np.minimum(short, long - short)
        rest = np.where(2 * short > long, 1.4 * (2 * short - long), long - 2 * short)
        out = np.minimum(out, 2.1969 * knights + rest)
    return out


def equalized(image: np.ndarray) -> np.ndarray:
    """Of integers, as OpenCV does it: the darkest value goes to 0, the brightest to 255."""
    values = sorted(set(image.ravel().tolist()))
    if len(values) == 1:
        return image
    darkest = (image == values[0]).sum()
    out = np.empty_like(image)
    for value in values:
        out[image == value] = np.round(((image <= value).sum() - darkest) * 255 / (image.size - darkest))
    return out


def shaded(liquid: np.ndarray) -> np.ndarray:
    level = np.minimum(np.floor(liquid * 255), 255)
    far = distance(canny(level, 50, 150), 20)
    height = equalized(np.floor(ndimage.uniform_filter(far, 3, mode="mirror") + 1e-6))
    light = ndimage.correlate(height, np.array([[-2, -1, 0], [-1, 1, 1], [0, 1, 2]], float), mode="mirror")
    drops = level * np.round(ndimage.uniform_filter(np.clip(light, 0, 255), 3, mode="mirror"))
    return drops / max(drops.max(), 1)


def spatter(image: np.ndarray, severity: int, scale: int, noise: np.ndarray) -> np.ndarray:
    mean, deviation, sigma, threshold, strength = SPATTER[scale][severity - 1]
    liquid = ndimage.gaussian_filter(mean + deviation * noise.astype(float), sigma, mode="nearest", truncate=4)
    if severity <= 3:
        water = strength * shaded(np.where(liquid < threshold, 0, liquid))[..., None]
        return np.clip(image + water * np.array([175, 238, 238]) / 255, 0, 1)
    mud = ndimage.gaussian_filter((liquid > threshold).astype(float), strength, mode="nearest", truncate=4)
    mud = np.where(mud < 0.8, 0, mud)[..., None]
    return np.clip(image * (1 - mud) + mud * np.array([63, 42, 20]) / 255, 0, 1)
