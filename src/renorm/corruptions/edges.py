"""Edges of images, and how far pixels are from them."""

import torch
from torch import Tensor
from torch.nn import functional

TANGENT = 13573 / 2**15  # of 22.5 degrees, as OpenCV rounds it
STEPS = (  # from pixel to pixel, (down, across), and their length
    *(((down, across), 1.0) for down, across in ((0, 1), (1, 0))),
    *(((down, across), 1.4) for down, across in ((1, 1), (1, -1))),
    *(((down, across), 2.1969) for down, across in ((1, 2), (2, 1), (1, -2), (2, -1))),
)


def canny(x: Tensor, low: int, high: int) -> Tensor:
    """Edges: ridges of the gradient above ``low`` that are connected to one above ``high``.

    Gradients are Sobel's, of magnitude ``|dx| + |dy|`` and one of four directions. Of two equal neighbours along a row
    or column the first is the ridge.

    Shape: float32 ``(N, 1, H, W)`` with integers 0 to 255; the result is bool.
    Reference: Canny, *A Computational Approach to Edge Detection*, 1986; with OpenCV's tangents and ties.
    """
    dx, dy = _sobel(x)
    magnitude = dx.abs() + dy.abs()
    ridge = (magnitude > low) & _is_ridge(magnitude, dx, dy)
    return _connected(ridge & (magnitude > high), ridge)


def shifted(x: Tensor, dim: int) -> list[Tensor]:
    """Each pixel's neighbour before, itself and the one after, of an image padded by one pixel."""
    return [x.narrow(dim, start, x.shape[dim] - 2) for start in range(3)]


def _sobel(x: Tensor) -> tuple[Tensor, Tensor]:
    above, here, below = shifted(functional.pad(x, (1, 1, 1, 1), mode="replicate"), -2)
    before, _, after = shifted(above + 2 * here + below, -1)
    left, middle, right = shifted(below - above, -1)
    return after - before, left + 2 * middle + right


def _is_ridge(magnitude: Tensor, dx: Tensor, dy: Tensor) -> Tensor:
    """Whether the magnitude is larger than both neighbours' along the gradient."""
    across, down = dx.abs(), dy.abs()
    # Both comparisons are exact in float32.
    edge = across * TANGENT
    is_level, is_upright, is_falling = down < edge, down - 2 * across > edge, (dx < 0) == (dy < 0)
    rows = shifted(functional.pad(magnitude, (1, 1, 1, 1)), -2)
    (upper_left, upper, upper_right), (left, _, right), (lower_left, lower, lower_right) = (
        shifted(row, -1) for row in rows
    )
    before, after = (
        torch.where(is_level, level, torch.where(is_upright, upright, torch.where(is_falling, falling, rising)))
        for level, upright, falling, rising in (
            (left, upper, upper_left, upper_right),
            (right, lower, lower_right, lower_left),
        )
    )
    return (magnitude > before) & ((magnitude > after) | ((magnitude == after) & (is_level | is_upright)))


def _connected(strong: Tensor, ridge: Tensor) -> Tensor:
    """The pixels of ``ridge`` that touch ``strong`` ones directly or through others."""
    padded = functional.pad(strong, (1, 1, 1, 1))
    width, found = padded.shape[-1], padded.view(-1)
    # Few pixels are not yet known: a list of them in the flat padded images.
    waiting = functional.pad(ridge & ~strong, (1, 1, 1, 1)).view(-1).nonzero()
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
    width = mask.shape[-1]
    # Rows one after the other, so far apart that no path around the corner is short enough to matter.
    stride = width + farthest
    distance = functional.pad(torch.where(mask, 0.0, float(farthest)), (0, farthest), value=farthest).flatten(1)
    for (down, across), length in STEPS:
        times = 1
        while times * length < farthest:  # 1, 2, 4, ... steps forwards and backwards: together any number of them
            _step(distance, times * (down * stride + across), times * length)
            times *= 2
    return distance.view(*mask.shape[:-1], stride)[..., :width]


def _step(distance: Tensor, offset: int, length: float) -> None:
    """Where it is shorter, come from the pixel ``offset`` places before or after."""
    rest = distance.shape[1] - offset
    if rest > 0:
        here, there = distance.narrow(1, 0, rest), distance.narrow(1, offset, rest)
        torch.minimum(there, here + length, out=there)
        torch.minimum(here, there + length, out=here)
