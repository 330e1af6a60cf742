"""Styles with weights: numbers, or soft masks over the cells of the features."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from renorm.banks import Bank
from renorm.functional import Moments, at_least_float32
from renorm.models.encoder import STRIDE

Styles = Bank | Mapping[Bank, float | Tensor]


def wide(t: Tensor) -> Tensor:
    """Of channels, as features are."""
    return t if t.ndim == 4 else t.view(1, -1, 1, 1)


def shares_of(style: Styles) -> Mapping[Bank, float | Tensor]:
    styles = {style: 1.0} if isinstance(style, Bank) else style
    numbers = [weight for weight in styles.values() if not isinstance(weight, Tensor)]
    if not styles or min([1.0, *numbers]) < 0 or (len(numbers) == len(styles) and sum(numbers) <= 0):
        raise ValueError(
            f"the weights {list(styles.values())} of styles were given. Some style has to have a weight above 0, and none one "
            f"below. Give a bank, or a dict of banks with their weights."
        )
    return styles


def share(weight: float | Tensor, features: Tensor, size: Sequence[int]) -> float | Tensor:
    """A number as it is; a mask as the share of each cell, 0 where the cell is padding."""
    if not isinstance(weight, Tensor):
        return float(weight)
    if weight.shape != tuple(size):
        raise ValueError(
            f"a mask of shape {tuple(weight.shape)} was given for pictures of {tuple(size)}. It needs their height and width. "
            f"Scale it to the picture."
        )
    return over_cells(weight.to(features)[None], features)[:, None]


def over_cells(mask: Tensor, features: Tensor) -> Tensor:
    """A mask ``(N, H, W)`` over cells: its mean over the pixels of each that there are."""
    height, width = (STRIDE * side for side in features.shape[-2:])
    padding = (0, max(0, width - mask.shape[-1]), 0, max(0, height - mask.shape[-2]))
    inside = F.pad(torch.ones_like(mask), padding)[..., :height, :width]
    known = F.pad(mask, padding)[..., :height, :width]
    sums, pixels = (F.avg_pool2d(t[:, None], STRIDE)[:, 0] for t in (known, inside))
    return sums / pixels.clamp(min=1 / STRIDE**2)


def weighed(features: Tensor, cells: Tensor) -> Moments:
    """Moments of cells by their weights, ``(N, C)``."""
    x = at_least_float32(features)
    weight = cells.reshape(-1, 1, *cells.shape[-2:]).to(x)
    count = weight.sum((2, 3))
    if (count < 2).any():
        raise ValueError(
            f"a mask leaves {count.min().item():.1f} cells of {STRIDE} x {STRIDE} pixels. Moments need two at least. Enlarge the "
            f"region, or the picture."
        )
    mean = (x * weight).sum((2, 3)) / count
    var = ((x - mean[..., None, None]).square() * weight).sum((2, 3)) / count
    return Moments(mean, var, count)
