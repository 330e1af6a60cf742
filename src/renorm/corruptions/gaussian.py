"""Gaussian smoothing at a cost that does not depend on its width."""

import math
from functools import lru_cache
from typing import Literal

import torch
from torch import Tensor

Border = Literal["nearest", "reflect"]  # aaa|abcd|ddd and cba|abcd|dcb, the names of scipy


def smooth(x: Tensor, sigma: float, border: Border = "nearest", truncate: float = 4.0) -> Tensor:
    r"""Convolve with a sampled Gaussian of ``sigma`` pixels that ends after ``truncate`` of them.

    :math:`A_H\, x\, A_W^T`, where row i of :math:`A_n` has the weights of pixel i's neighbours, those beyond the border
    added to the pixels that stand for them. Shape: ``(..., H, W)``, kept.

    Example:
        >>> smooth(torch.ones(1, 4, 5), sigma=30.0, border="reflect").sum().item()
        20.0
    """
    height, width = x.shape[-2:]
    # A GPU rounds the factors of float32 products to 10 bits where the user allows it.
    dtype = torch.float64 if x.is_cuda else x.dtype
    rows, columns = (_weights(n, sigma, border, truncate).to(x.device, dtype) for n in (height, width))
    smoothed = torch.empty_like(x, memory_format=torch.contiguous_format)
    with torch.autocast(x.device.type, enabled=False):
        for image, out in zip(x.view(-1, height, width), smoothed.view(-1, height, width), strict=True):
            # One product per image, each from a fresh copy: the last bit of a product can depend on the size of the
            # batch and on where in memory it starts.
            out.copy_(rows @ image.to(dtype, copy=True) @ columns.T)
    return smoothed


@lru_cache(maxsize=16)
def _weights(length: int, sigma: float, border: Border, truncate: float) -> Tensor:
    """What each of ``length`` pixels gets from each. Shape: float64 ``(length, length)``, rows sum to 1."""
    radius = int(truncate * sigma + 0.5)
    offset = torch.arange(-radius, radius + 1)
    weight = torch.exp(-0.5 * (offset.double() / max(sigma, math.ulp(0.0))).square())
    neighbour = torch.arange(length)[:, None] + offset
    if border == "reflect":
        neighbour = neighbour % (2 * length)
        neighbour = torch.minimum(neighbour, 2 * length - 1 - neighbour)
    neighbour = neighbour.clamp(0, length - 1)
    return torch.zeros(length, length, dtype=torch.float64).scatter_add_(
        1, neighbour, (weight / weight.sum()).expand(length, -1)
    )
