"""Parts of a large picture, each with all that its own pixels of the result depend on."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from itertools import product

import torch.nn.functional as F
from torch import Tensor

from renorm.models.encoder import LAYERS, POOLED, SMALLEST, STRIDE

LEAST = 64  # pixels a side of a tile
Slices = tuple[slice, slice]


def tiles(size: Sequence[int], tile: int, halo: int) -> Iterator[tuple[Slices, Slices, Slices]]:
    """Of each tile what it gives, what it is computed from, and where in that the former is; all whole cells."""
    step = max(STRIDE, tile // STRIDE * STRIDE)
    sides = []
    for side in size:
        starts = range(0, side, step)
        inner = [slice(start, min(start + step, side)) for start in starts]
        outer = [slice(max(0, one.start - halo), min(side, one.stop + halo)) for one in inner]
        within = [slice(i.start - o.start, i.stop - o.start) for i, o in zip(inner, outer, strict=True)]
        sides.append(list(zip(inner, outer, within, strict=True)))
    for rows, columns in product(*sides):
        inner, outer, within = zip(rows, columns, strict=True)
        yield inner, outer, within


def side_within(memory: float, pixel: float) -> int:
    """The side of the largest tiles that fit with their halos.

    Args:
        memory: That there is.
        pixel: That each pixel takes.

    Raises:
        ValueError: the smallest do not fit.
    """
    side = int(math.sqrt(memory / pixel)) - 2 * reach()
    if side < LEAST:
        raise ValueError(
            f"{memory:g} GB of memory were allowed. The smallest tiles need {pixel * (LEAST + 2 * reach()) ** 2:.2g}. Allow as "
            f"much."
        )
    return side // STRIDE * STRIDE


def reach() -> int:
    """How far away a pixel of the result sees, in whole cells: what the convolutions of both networks add up to."""
    pixels, scale = 0, 1
    for name in LAYERS:
        scale *= 2 if name in POOLED else 1
        pixels += 2 * scale
    return -(-pixels // STRIDE) * STRIDE


def padded(x: Tensor) -> Tensor:
    """Pictures continued by reflection to a multiple of 8 pixels a side, and to 16."""
    if x.ndim != 4 or min(x.shape[-2:]) <= SMALLEST // 2:
        raise ValueError(
            f"pictures of shape {tuple(x.shape)} were given. (N, 3, H, W) with sides of at least {SMALLEST // 2 + 1} is needed. "
            f"Enlarge them."
        )
    height, width = (max(SMALLEST, -(-side // STRIDE) * STRIDE) - side for side in x.shape[-2:])
    return F.pad(x, (0, width, 0, height), mode="reflect") if height or width else x
