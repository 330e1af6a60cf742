"""Digital corruptions of one (H, W, 3) image in float64: loops over pixels, colorsys and scipy."""

import colorsys
from collections.abc import Callable

import numpy as np
from scipy import ndimage

# Typed from the published scripts a second time.
CONTRAST = {32: [0.75, 0.5, 0.4, 0.3, 0.15], 64: [0.4, 0.3, 0.2, 0.1, 0.05], 224: [0.4, 0.3, 0.2, 0.1, 0.05]}
SATURATE = {
    32: [(0.3, 0), (0.1, 0), (1.5, 0), (2, 0.1), (2.5, 0.2)],
    64: [(0.3, 0), (0.1, 0), (2, 0), (5, 0.1), (30, 0.2)],
    224: [(0.3, 0), (0.1, 0), (2, 0), (5, 0.1), (20, 0.2)],
}
PIXELATE = {32: [0.95, 0.9, 0.85, 0.75, 0.65], 64: [0.9, 0.8, 0.7, 0.6, 0.5], 224: [0.6, 0.5, 0.4, 0.3, 0.25]}
JPEG = {32: [80, 65, 58, 50, 40], 64: [65, 58, 50, 40, 25], 224: [25, 18, 15, 10, 7]}
ELASTIC = {  # alpha, sigma and alpha_affine of an image of this side
    32: [(0, 0, 2.56), (1.6, 6.4, 2.24), (2.56, 1.92, 1.92), (3.2, 1.28, 1.6), (3.2, 0.96, 0.96)],
    64: [(0, 0, 5.12), (3.2, 19.2, 3.84), (6.4, 5.12, 3.84), (6.4, 1.92, 1.92), (10.24, 1.92, 1.28)],
    224: [(488, 170.8, 24.4), (488, 19.52, 48.8), (12.2, 2.44, 4.88), (17.08, 2.44, 4.88), (29.28, 2.44, 4.88)],
}


def in_hsv(image: np.ndarray, change: Callable[[float, float, float], tuple[float, float, float]]) -> np.ndarray:
    pixels = [colorsys.hsv_to_rgb(*change(*colorsys.rgb_to_hsv(*pixel))) for pixel in image.reshape(-1, 3).tolist()]
    return np.array(pixels).reshape(image.shape)


def contrast(image: np.ndarray, severity: int, scale: int) -> np.ndarray:
    mean = image.mean((0, 1))
    return np.clip((image - mean) * CONTRAST[scale][severity - 1] + mean, 0, 1)


def saturate(image: np.ndarray, severity: int, scale: int) -> np.ndarray:
    factor, offset = SATURATE[scale][severity - 1]
    return in_hsv(image, lambda h, s, v: (h, min(max(s * factor + offset, 0), 1), v))


def pixelate(image: np.ndarray, severity: int, scale: int) -> np.ndarray:
    """Squares of the mean of the pixels whose centres lie in them (a centre on an edge never occurs here)."""
    squares: dict[tuple[int, ...], list[tuple[int, int]]] = {}
    for y in range(image.shape[0]):
        for x in range(image.shape[1]):
            counts = (int(n * PIXELATE[scale][severity - 1]) for n in image.shape[:2])
            place = tuple(int((c + 0.5) * m / n) for c, m, n in zip((y, x), counts, image.shape, strict=False))
            squares.setdefault(place, []).append((y, x))
    out = np.empty_like(image)
    for pixels in squares.values():
        for y, x in pixels:
            out[y, x] = np.mean([image[pixel] for pixel in pixels], axis=0)
    return out


def elastic(image: np.ndarray, severity: int, scale: int, shifts: np.ndarray, noise: np.ndarray) -> np.ndarray:
    """``shifts`` (3, 2) and ``noise`` (2, H, W) are uniform in [-1, 1]: across, down."""
    alpha, sigma, reach = (constant * min(image.shape[:2]) / scale for constant in ELASTIC[scale][severity - 1])
    height, width = image.shape[:2]
    y, x = np.mgrid[:height, :width].astype(float)
    centre, third = np.array([width // 2, height // 2]), min(height, width) // 3
    points = centre + third * np.array([[1, 1], [1, -1], [-1, -1]])
    back = np.linalg.solve(np.c_[points + reach * shifts, np.ones(3)], points)  # of moved points to where they were
    source = np.stack([x, y, np.ones_like(x)], -1) @ back
    warped = [ndimage.map_coordinates(c, [source[..., 1], source[..., 0]], order=1, mode="mirror") for c in image.T.mT]
    across, down = (alpha * ndimage.gaussian_filter(n, sigma, mode="reflect", truncate=3) for n in noise)
    moved = [ndimage.map_coordinates(c, [y + down, x + across], order=1, mode="reflect") for c in warped]
    return np.clip(np.stack(moved, -1), 0, 1)
