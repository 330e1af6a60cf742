"""Noise of the sensor."""

import math
from functools import cache

import torch
from torch import Tensor

from renorm.corruptions.random import PerImage

# Published severity tables of Hendrycks & Dietterich, 2019, for images of 32, 64 and 224 pixels in [0, 1].
GAUSSIAN = {  # standard deviation
    32: (0.04, 0.06, 0.08, 0.09, 0.10),
    64: (0.04, 0.08, 0.12, 0.15, 0.18),
    224: (0.08, 0.12, 0.18, 0.26, 0.38),
}
SHOT = {  # photons that make white
    32: (500, 250, 100, 75, 50),
    64: (250, 100, 50, 30, 15),
    224: (60, 25, 12, 5, 3),
}
IMPULSE = {  # share of the values that are lost
    32: (0.01, 0.02, 0.03, 0.05, 0.07),
    64: (0.01, 0.02, 0.05, 0.08, 0.14),
    224: (0.03, 0.06, 0.09, 0.17, 0.27),
}
SPECKLE = {  # standard deviation relative to the value
    32: (0.06, 0.10, 0.12, 0.16, 0.20),
    64: (0.15, 0.20, 0.25, 0.30, 0.35),
    224: (0.15, 0.20, 0.35, 0.45, 0.60),
}
LEVELS = 255
BUCKETS = 1024  # of a uniform number, each with the first candidate for the number of photons
FEW = 24  # more photons than that come from less than one level with a probability below 2^-24
ON_LEVEL = 2.0**-10  # of a level; what is nearer than this to one of 8 bits is taken for it


def gaussian_noise(x: Tensor, severity: int, draw: PerImage, scale: int) -> Tensor:
    """Add white noise, different in every pixel and channel. Shape: ``(N, 3, H, W)``, kept."""
    return draw.normal(x.shape[1:]).mul_(GAUSSIAN[scale][severity - 1]).add_(x).clamp_(0, 1)


def shot_noise(x: Tensor, severity: int, draw: PerImage, scale: int) -> Tensor:
    r"""Count photons: :math:`y = k / \lambda` with k from Poisson(:math:`\lambda x`). Shape: ``(N, 3, H, W)``, kept.

    Exact for any x: a Poisson number for the level of 8 bits below x, from tables, and one for the rest are independent
    and add to one for x.
    """
    white = SHOT[scale][severity - 1]
    value = x * LEVELS
    level = (value + ON_LEVEL).floor_()
    photons = _of_levels(level, draw.uniform(x.shape[1:]), white).view(x.shape).to(x.dtype)
    rest = value.sub_(level)
    if rest.numel() and bool(rest.amax() > ON_LEVEL):
        rest = rest.where(rest > ON_LEVEL, 0).mul_(white / LEVELS)
        photons += _of_rates(rest, draw.uniform(x.shape[1:]))
    return photons.div_(white).clamp_(max=1)


def _of_levels(level: Tensor, number: Tensor, white: int) -> Tensor:
    """Poisson numbers: the smallest k whose distribution function exceeds ``number``. Shape: flattened."""
    first, cumulative = (table.to(level.device) for table in _tables(white))
    row, number = level.flatten().to(torch.int32), number.flatten()
    k = first.view(-1).index_select(0, row * BUCKETS + (number * BUCKETS).to(torch.int32))
    rare = (k < 0).nonzero().squeeze(1)
    row *= cumulative.shape[1]
    k += number >= cumulative.view(-1).index_select(0, k.clamp(min=0).add_(row))
    # Rows follow each other in one increasing sequence when each begins at its own number.
    rows = torch.arange(LEVELS + 1, dtype=torch.float64, device=level.device)[:, None]
    sequence, wanted = (cumulative + rows).flatten(), level.flatten()[rare].double() + number[rare]
    k[rare] = torch.searchsorted(sequence, wanted, right=True, out_int32=True) - row[rare]
    return k


@cache
def _tables(white: int) -> tuple[Tensor, Tensor]:
    """Per level: the only k possible in each bucket, or the smaller of two, or -1 for more; the distribution function."""
    most = math.ceil(white + 7 * math.sqrt(white) + 10)
    k = torch.arange(most + 1, dtype=torch.float64)
    rate = torch.arange(LEVELS + 1, dtype=torch.float64)[:, None] * (white / LEVELS)
    cumulative = (torch.special.xlogy(k, rate) - rate - torch.lgamma(k + 1)).exp().cumsum(1).float()
    cumulative[:, -1] = 1
    edges = (torch.arange(BUCKETS + 1) / BUCKETS).expand(LEVELS + 1, -1).contiguous()
    below = torch.searchsorted(cumulative, edges[:, :-1].contiguous(), right=True, out_int32=True)
    above = torch.searchsorted(cumulative, edges[:, 1:].contiguous(), out_int32=True)
    return below.where(above - below <= 1, -1), cumulative


def _of_rates(rate: Tensor, number: Tensor) -> Tensor:
    """The same for few photons each: add the probabilities of 0, 1, 2... until they exceed ``number``."""
    term = rate.neg().exp_()
    cumulative, k = term.clone(), torch.zeros_like(rate)
    for i in range(1, FEW):
        above = number >= cumulative
        if not bool(above.any()):
            break
        k += above
        cumulative += term.mul_(rate).div_(i)
    return k


def impulse_noise(x: Tensor, severity: int, draw: PerImage, scale: int) -> Tensor:
    """Set a share of the values, each channel's by itself, to 0 or 1 alike. Shape: ``(N, 3, H, W)``, kept."""
    share = IMPULSE[scale][severity - 1]
    number = draw.uniform(x.shape[1:])
    # Signs and extremes take a fraction of the time of comparisons and selections.
    peppered = torch.minimum(x, (number - share / 2).sign_())
    return torch.maximum(peppered, number.sub_(1 - share / 2).sign_()).clamp_(0, 1)


def speckle_noise(x: Tensor, severity: int, draw: PerImage, scale: int) -> Tensor:
    """Multiply by white noise around 1. Shape: ``(N, 3, H, W)``, kept."""
    return draw.normal(x.shape[1:]).mul_(SPECKLE[scale][severity - 1]).add_(1).mul_(x).clamp_(0, 1)
