"""Edges of images, and how far pixels are from them."""

import torch
from torch import Tensor
from torch.nn import functional

SECTOR = 13573  # tan(22.5 degrees) in 2^-15
# Steps from pixel to pixel (down, across), their length, and how far they are repeated in one direction at most.
STEPS = (
    *(((down, across), 1.0) for down, across in ((0, 1), (1, 0))),
    *(((down, across), 1.4) for down, across in ((1, 1), (1, -1))),
    *(((down, across), 2.1969) for down, across in ((1, 2), (2, 1), (1, -2), (2, -1))),
)


def canny(x: Tensor, low: int, high: int) -> Tensor:
    """Edges: ridges of the gradient above ``low`` that are connected to one above ``high``.

    Gradients are Sobel's, of magnitude \\|dx\\| + \\|dy\\|, in four directions.

    Shape: ``(N, 1, H, W)`` of integers 0 to 255 in any dtype; the result is bool.
    Reference: Canny, *A Computational Approach to Edge Detection*, 1986.
    """
    dx, dy = _sobel(x.to(torch.int32))
    magnitude = dx.abs() + dy.abs()
    ridge = (magnitude > low) & _is_ridge(magnitude, dx, dy)
    return _connected(ridge & (magnitude > high), ridge)


def shifted(x: Tensor, dim: int) -> list[Tensor]:
    """Each pixel's neighbour before, itself and the one after, of an image padded by one pixel."""
    return [x.narrow(dim, start, x.shape[dim] - 2) for start in range(3)]


def _sobel(x: Tensor) -> tuple[Tensor, Tensor]:
    padded = functional.pad(x.float(), (1, 1, 1, 1), mode="replicate").to(x.dtype)
    above, here, below = shifted(padded, -2)
    before, _, after = shifted(above + 2 * here + below, -1)
    left, middle, right = shifted(below - above, -1)
    return after - before, left + 2 * middle + right


def _is_ridge(magnitude: Tensor, dx: Tensor, dy: Tensor) -> Tensor:
    """Larger than both neighbours along the gradient; of two equal ones the left or upper is the ridge."""
    above, here, below = shifted(functional.pad(magnitude, (1, 1, 1, 1)), -2)
    (above_left, above, above_right), (left, _, right), (below_left, below, below_right) = (
        shifted(row, -1) for row in (above, here, below)
    )
    width, height = dx.abs(), dy.abs() << 15
    sideways = height < width * SECTOR
    upright = height > width * (SECTOR + 2**16)
    horizontal = (magnitude > left) & (magnitude >= right)
    vertical = (magnitude > above) & (magnitude >= below)
    falling = (magnitude > above_left) & (magnitude > below_right)
    rising = (magnitude > above_right) & (magnitude > below_left)
    diagonal = torch.where((dx ^ dy) < 0, rising, falling)
    return torch.where(sideways, horizontal, torch.where(upright, vertical, diagonal))


def _connected(strong: Tensor, ridge: Tensor) -> Tensor:
    """The pixels of ``ridge`` that touch ``strong`` ones directly or through others."""
    padded = functional.pad(strong, (1, 1, 1, 1))
    width, found = padded.shape[-1], padded.flatten()
    waiting = functional.pad(ridge & ~strong, (1, 1, 1, 1)).flatten().nonzero()
    around = torch.tensor([row * width + column for row in (-1, 0, 1) for column in (-1, 0, 1)], device=ridge.device)
    while len(waiting):
        touching = found[waiting + around].any(1)
        if not touching.any():
            break
        found[waiting[touching]] = True
        waiting = waiting[~touching]
    return padded[..., 1:-1, 1:-1]


def distance_to(mask: Tensor, farthest: int) -> Tensor:
    """Length of the shortest path of straight, diagonal and knight's steps to a pixel of ``mask``, or ``farthest``.

    Shape: bool ``(N, 1, H, W)`` to float32.
    Reference: Borgefors, *Distance Transformations in Digital Images*, 1986, with OpenCV's 1, 1.4 and 2.1969.
    """
    distance = torch.where(mask, 0.0, float(farthest))
    for (down, across), length in STEPS:
        times = 1
        while times * length < farthest:  # 1, 2, 4, ... steps forwards and backwards: together any number of them
            for sign in (1, -1):
                _step(distance, sign * times * down, sign * times * across, times * length)
            times *= 2
    return distance


def _step(distance: Tensor, down: int, across: int, length: float) -> None:
    """Where it is shorter, come from the pixel ``(down, across)`` away."""
    height, width = distance.shape[-2:]
    if abs(down) < height and abs(across) < width:
        rows, columns = (slice(max(-step, 0), size - max(step, 0)) for step, size in ((down, height), (across, width)))
        here = distance[..., rows, columns]
        rows, columns = (slice(max(step, 0), size - max(-step, 0)) for step, size in ((down, height), (across, width)))
        torch.minimum(here, distance[..., rows, columns] + length, out=here)
