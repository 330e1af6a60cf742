"""Blur by a rough glass before the lens."""

import torch
from torch import Tensor

from renorm.corruptions.blur import gaussian
from renorm.corruptions.random import PerImage

# Published severity tables of Hendrycks & Dietterich, 2019, for images of 32, 64 and 224 pixels.
GLASS = {  # standard deviation and reach in pixels, rounds
    32: ((0.05, 1, 1), (0.25, 1, 1), (0.4, 1, 1), (0.25, 1, 2), (0.4, 1, 2)),
    64: ((0.1, 1, 1), (0.5, 1, 1), (0.6, 1, 2), (0.7, 2, 1), (0.9, 2, 2)),
    224: ((0.7, 1, 2), (0.9, 2, 1), (1, 2, 3), (1.1, 3, 2), (1.5, 4, 2)),
}
ROUNDING = 2.0**-14  # of a level: what sums in float32 may fall short by, which must not cost a whole level


def glass_blur(x: Tensor, severity: int, draw: PerImage, scale: int) -> Tensor:
    """Smooth, let pixels take over the colour of a near one, and smooth again. Shape: ``(N, 3, H, W)``, kept.

    In each round pixels are visited from the last to the first, a border excepted, and each becomes what the pixel at a
    random offset (down, right) of ``-reach .. reach - 1`` is at that moment. The published code means to swap both, but
    overwrites one before it is read. Smoothed values are truncated to 8 bits before, as published.
    """
    sigma, reach, rounds = GLASS[scale][severity - 1]
    pixels = gaussian(x, sigma).mul_(255).add_(ROUNDING).floor_().div_(255).flatten(2)
    for _ in range(rounds):
        origins = _origins(draw, reach, *x.shape[-2:])
        pixels = pixels.gather(2, origins[:, None].expand(-1, 3, -1))
    return gaussian(pixels.view(x.shape), sigma).clamp_(0, 1)


def _origins(draw: PerImage, reach: int, height: int, width: int) -> Tensor:
    """The pixel whose colour before a round each pixel has after it. Shape: ``(N, height * width)``."""
    place = torch.arange(height * width, dtype=torch.int32, device=draw.keys.device)
    side = torch.arange(-reach, reach, dtype=torch.int32, device=place.device)
    choice = draw.integers((len(place),), 0, len(side) ** 2)
    step = (side[:, None] * width + side).flatten().index_select(0, choice.flatten()).view_as(choice)
    moves = torch.zeros(height, width, dtype=torch.int32, device=place.device)
    moves[reach + 1 : height - reach + 1, reach + 1 : width - reach + 1] = 1
    origin = place + step.mul_(moves.flatten())
    return _follow((origin <= place).to(torch.int32).mul_(len(place)).add_(origin))


def _follow(link: Tensor) -> Tensor:
    """Where chains end: ``link`` of M pixels is another pixel to follow, or M + the pixel at which to stop."""
    num_pixels = link.shape[1]
    first = torch.arange(len(link), dtype=torch.int32, device=link.device)[:, None] * (2 * num_pixels)
    ends = torch.arange(num_pixels, 2 * num_pixels, dtype=torch.int32, device=link.device).expand_as(link)
    links = torch.cat((link, ends), dim=1) + first
    while bool((links[:, :num_pixels].amin(1, keepdim=True) < first + num_pixels).any()):
        # Each turn doubles the steps that a link stands for.
        links[:, :num_pixels] = links.view(-1).index_select(0, links[:, :num_pixels].flatten()).view_as(link)
    return (links[:, :num_pixels] - first - num_pixels).to(torch.int64)
