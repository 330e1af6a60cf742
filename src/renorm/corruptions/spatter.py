"""Water and mud on the lens."""

import torch
from torch import Tensor
from torch.nn import functional

from renorm.corruptions.blur import smooth
from renorm.corruptions.random import PerImage

# Published severity tables of Hendrycks & Dietterich, 2019, for images of 32, 64 and 224 pixels: mean and standard
# deviation of the noise, smoothness and threshold of the liquid, strength of water or smoothness of mud, whether mud.
SPATTER = {
    32: (
        (0.62, 0.1, 0.7, 0.7, 0.5, False),
        (0.65, 0.1, 0.8, 0.7, 0.5, False),
        (0.65, 0.3, 1, 0.69, 0.5, False),
        (0.65, 0.1, 0.7, 0.69, 0.6, True),
        (0.65, 0.1, 0.5, 0.68, 0.6, True),
    ),
    64: (
        (0.62, 0.1, 0.7, 0.7, 0.6, False),
        (0.65, 0.1, 0.8, 0.7, 0.6, False),
        (0.65, 0.3, 1, 0.69, 0.6, False),
        (0.65, 0.1, 0.7, 0.68, 0.6, True),
        (0.65, 0.1, 0.5, 0.67, 0.6, True),
    ),
    224: (
        (0.65, 0.3, 4, 0.69, 0.6, False),
        (0.65, 0.3, 3, 0.68, 0.6, False),
        (0.65, 0.3, 2, 0.68, 0.5, False),
        (0.65, 0.3, 1, 0.65, 1.5, True),
        (0.67, 0.4, 1, 0.65, 1.5, True),
    ),
}
WATER = (175 / 255, 238 / 255, 238 / 255)  # pale turquoise
MUD = (63 / 255, 42 / 255, 20 / 255)
OPAQUE = 0.8  # thinner mud is not there
FARTHEST = 20  # pixels from an edge that matter
RELIEF = ((-2, -1, 0), (-1, 1, 1), (0, 1, 2))
TANGENT = 13573 / 2**15  # of 22.5 degrees, as OpenCV rounds it
STEPS = (  # from pixel to pixel, (down, across), and their length
    *(((down, across), 1.0) for down, across in ((0, 1), (1, 0))),
    *(((down, across), 1.4) for down, across in ((1, 1), (1, -1))),
    *(((down, across), 2.1969) for down, across in ((1, 2), (2, 1), (1, -2), (2, -1))),
)


def spatter(x: Tensor, severity: int, draw: PerImage, scale: int) -> Tensor:
    """Throw drops of water (severity 1 to 3) or mud (4 and 5) on the lens: smoothed noise above a threshold.

    Shape: ``(N, 3, H, W)``, kept.
    """
    mean, deviation, sigma, threshold, strength, is_mud = SPATTER[scale][severity - 1]
    liquid = smooth(mean + deviation * draw.normal((1, *x.shape[-2:])), sigma)
    if is_mud:
        mud = smooth((liquid > threshold).to(x.dtype), strength)
        mud = torch.where(mud < OPAQUE, 0, mud)
        return (x * (1 - mud) + _colour(MUD, x) * mud).clamp_(0, 1)
    drops = _shaded(torch.where(liquid < threshold, 0, liquid))
    return (x + _colour(WATER, x) * (drops * strength)).clamp_(0, 1)


def _colour(rgb: tuple[float, ...], x: Tensor) -> Tensor:
    return torch.tensor(rgb, device=x.device, dtype=x.dtype).view(3, 1, 1)


def _shaded(liquid: Tensor) -> Tensor:
    """Drops with a light and a dark side, at most 1: processing of 8-bit images, as in the reference."""
    level = (liquid * 255).floor_().clamp_(max=255)
    distance = distance_to(canny(level, low=50, high=150), FARTHEST)
    height = functional.pad(_equalized(_mean3(distance).floor_().long()), (1, 1, 1, 1), mode="reflect")
    light = torch.zeros_like(level)
    for weights, row in zip(RELIEF, shifted(height, -2), strict=True):
        for weight, part in zip(weights, shifted(row, -1), strict=True):
            light.add_(part, alpha=weight)
    shaded = level * _mean3(light.clamp_(0, 255)).round_()
    return shaded / shaded.amax((2, 3), keepdim=True).clamp(min=1)


def _mean3(x: Tensor) -> Tensor:
    """Mean of 3 x 3 pixels; the border mirrors its neighbours."""
    first, second, third = shifted(functional.pad(x, (1, 1, 1, 1), mode="reflect"), -2)
    first, second, third = shifted(first + second + third, -1)
    return (first + second + third).div_(9)


def _equalized(x: Tensor) -> Tensor:
    """Map the integers 0 to ``FARTHEST`` to 0 to 255 so that each image's histogram is even; one value alone stays."""
    images = torch.arange(len(x), device=x.device).view(-1, 1, 1, 1)
    histogram = torch.bincount((x + images * (FARTHEST + 1)).flatten(), minlength=len(x) * (FARTHEST + 1))
    below = histogram.view(len(x), -1).cumsum(1)
    darkest = torch.where(below > 0, below, below[:, -1:]).amin(1, keepdim=True)
    others = below[:, -1:] - darkest
    mapped = ((below - darkest) * (255 / others.clamp(min=1).to(torch.float32))).round_()
    mapped = torch.where(others > 0, mapped, torch.arange(FARTHEST + 1, device=x.device))
    return mapped.gather(1, x.flatten(1)).view(x.shape)


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
