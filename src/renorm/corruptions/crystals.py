"""Pictures of frost on a window, drawn by a program."""

import math
from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor

from renorm.corruptions.draw import PerImage

SIDE = 512  # pixels; pictures continue at the opposite side


@dataclass(frozen=True)
class Window:
    """How one window froze over.

    Mean and deviation are those of the finished picture: the means of red, green and blue, and the standard deviation
    over pixels, alike for the three.
    """

    mean: tuple[float, float, float]
    deviation: float
    num_leaves: int
    length: int  # pixels
    slenderness: float  # half of the width over the length
    together: int  # leaves that grow from one point
    film: float  # amplitude of the smooth film under the leaves, whose own is 1
    film_slope: float  # its spectrum falls with this power of the frequency


WINDOWS = (
    Window((0.31, 0.58, 0.65), 0.072, 260, 96, 0.05, 1, 0.6, 1.9),  # film with a few wrinkles
    Window((0.79, 0.81, 0.84), 0.086, 600, 100, 0.07, 2, 0.2, 1.4),  # needles
    Window((0.79, 0.81, 0.84), 0.086, 450, 120, 0.12, 3, 0.2, 1.4),  # broad needles
    Window((0.54, 0.60, 0.65), 0.112, 1400, 40, 0.35, 4, 0.3, 1.2),  # flakes
    Window((0.44, 0.48, 0.53), 0.170, 400, 104, 0.30, 6, 0.3, 1.5),  # ferns
)


@lru_cache(maxsize=1)
def windows() -> Tensor:
    """Five pictures of frost, of 8 bits as pictures are, so that no machine's rounding shows.

    The means and deviations in ``WINDOWS`` are like those of photographs of frost, from a thin film to dense needles.

    Shape: uint8 ``(5, 3, 512, 512)``.
    """
    with torch.device("cpu"):
        return torch.stack([_freeze(window, PerImage([i], "window")) for i, window in enumerate(WINDOWS)])


def _freeze(window: Window, draw: PerImage) -> Tensor:
    grain = 0.06 * draw.normal((SIDE, SIDE))[0].double()
    light = _standardized(_leaves(window, draw) + window.film * _film(draw, window.film_slope) + grain)
    tint = 0.12 * _film(draw, 1.9)
    channels = zip(window.mean, (light - tint, light, light + tint), strict=True)
    picture = torch.stack([mean + window.deviation * _standardized(channel) for mean, channel in channels])
    return (picture.clamp(0, 1) * 255).round().to(torch.uint8)


def _standardized(x: Tensor) -> Tensor:
    # Tails are bent, so that little is cut off at black and white.
    bent = torch.tanh((x - x.mean()) / (2.5 * x.std()))
    return (bent - bent.mean()) / bent.std()


def _film(draw: PerImage, slope: float) -> Tensor:
    """Noise of a spectrum that falls with the frequency, of mean 0 and deviation 1."""
    frequency = torch.fft.fftfreq(SIDE, dtype=torch.float64)
    gain = torch.hypot(frequency[:, None], frequency).clamp(min=2 / SIDE).pow(-slope)
    noise = torch.fft.ifft2(torch.fft.fft2(draw.normal((SIDE, SIDE))[0].double()) * gain).real
    return (noise - noise.mean()) / noise.std()


def _leaves(window: Window, draw: PerImage) -> Tensor:
    """Leaves painted over each other."""
    num = window.num_leaves
    groups = -(-num // window.together)
    member = torch.arange(num) % window.together
    group = torch.arange(num) // window.together
    root = draw.uniform((groups, 2), 0, SIDE)[0, group]
    heading = draw.uniform((groups,), 0, 2 * math.pi)[0, group] + member * 2 * math.pi / max(window.together, 2)
    heading = heading + 0.25 * draw.normal((num,))[0]
    length = window.length * draw.uniform((num,), 0.4, 1)[0]
    centre = (root + 0.5 * length[:, None] * torch.stack((heading.sin(), heading.cos()), 1)).long()
    canvas = torch.full((SIDE, SIDE), 0.3)
    box = torch.arange(-(window.length // 2), window.length // 2 + 1)
    for leaves in torch.arange(num).split(max(1, 2**17 // len(box) ** 2)):
        drawn = _leaf(box, heading[leaves], length[leaves], window.slenderness)
        for (down, across), leaf in zip(centre[leaves].tolist(), drawn, strict=True):
            place = ((down + box) % SIDE)[:, None], (across + box) % SIDE
            canvas[place] = torch.where(leaf > 0, leaf, canvas[place])
    return canvas


def _leaf(box: Tensor, heading: Tensor, length: Tensor, slenderness: float) -> Tensor:
    """A rib with branches at 60 degrees, each half lit as it lies; 0 around it. Shape: ``(n, len(box), len(box))``."""
    sine, cosine, length = (angle.view(-1, 1, 1) for angle in (heading.sin(), heading.cos(), length))
    along = (box * cosine + box[:, None] * sine) / length + 0.5
    side = (box[:, None] * cosine - box * sine) / length
    aside = side.abs()
    edge = slenderness * (1 - along) * (along / 0.12).clamp(0, 1)
    lit = 0.55 + 0.3 * torch.sign(side) * (cosine + sine) / math.sqrt(2)
    branches = torch.cos((along - aside / math.sqrt(3)) * length * (2 * math.pi / 5.5)).mul_(0.22).add_(0.78)
    rib = torch.exp(-(aside * length / 0.7).square())
    return torch.where((along > 0) & (aside < edge), torch.maximum(lit * branches, rib), 0)
