"""Normalizing every sample by the moments of its population, and scaling it by the affine of its row or of two in one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from renorm import kernels
from renorm.functional.moments import Moments, at_least_float32, linked_moments, pool, positions

Affine = tuple[Tensor | None, Tensor | None]


def branch_norm(
    x: Tensor,
    weight: Tensor | None,
    bias: Tensor | None,
    *,
    population: Tensor | None = None,
    num_populations: int = 1,
    row: Tensor | None = None,
    eps: float = 1e-5,
    merge_ranks: Callable[[Moments], Moments] | None = None,
) -> tuple[Tensor, Moments]:
    r"""Normalize every sample by the moments of its population, then apply the affine of its row.

    .. math:: y_n = w_{r(n)} \frac{x_n - \mu_{k(n)}}{\sqrt{\sigma^2_{k(n)} + \epsilon}} + b_{r(n)}

    Shape: x ``(N, C, *)``; weight and bias ``(R, C)``, without ``row`` ``(1, C)`` or ``(N, C)``; the result is y like x and the
    populations' moments ``(K, C)``.

    Reduces to: batch normalization in training for one population and one row.

    Args:
        population: ``(N,)`` int64, the population of each sample; ``None`` is one population.
        row: ``(N,)`` int64, the affine of each sample; ``None`` where it is given by sample, or one for all.
        merge_ranks: a function applied to the populations' moments, e.g. :func:`all_merge` of a process group.

    Reference: Ioffe & Szegedy, *Batch normalization*, 2015, for one population.
    """
    mean, var, link = linked_moments(x)
    batch = pool(Moments(mean, var, positions(x)), population, num_populations)
    if merge_ranks is not None:
        batch = merge_ranks(batch)
    y = _apply(x, batch.mean, batch.var, weight, bias, population, row, eps, link)
    return y, Moments(batch.mean.detach(), batch.var.detach(), batch.count)


def fixed_norm(
    x: Tensor,
    mean: Tensor,
    var: Tensor,
    weight: Tensor | None,
    bias: Tensor | None,
    *,
    population: Tensor | None = None,
    row: Tensor | None = None,
    eps: float = 1e-5,
) -> Tensor:
    """:func:`branch_norm` by given statistics ``(K, C)`` in place of the batch's, as in evaluation."""
    return _apply(x, mean.detach(), var.detach(), weight, bias, population, row, eps, None)


def native_norm(x: Tensor, weight: Tensor | None, bias: Tensor | None, eps: float = 1e-5) -> tuple[Tensor, Moments]:
    """:func:`branch_norm` of one population and one row through PyTorch's native kernel; moments of ``(C,)``."""
    channels, size = x.shape[1], x.numel() // x.shape[1]
    dtype = torch.float64 if x.dtype == torch.float64 else torch.float32
    mean, var = torch.zeros((2, channels), dtype=dtype, device=x.device)
    weight, bias = (None if t is None else _as(t, dtype) for t in (weight, bias))
    y = F.batch_norm(x, mean, var, weight, bias, True, 1.0, eps)  # momentum 1 writes the batch's own statistics
    return y, Moments(mean, var * ((size - 1) / max(size, 1)), size)


def block_norm(
    x: Tensor, weight: Tensor | None, bias: Tensor | None, sizes: Sequence[int], eps: float = 1e-5
) -> tuple[Tensor, Moments]:
    """:func:`branch_norm` of consecutive blocks through the native kernel; weight, bias and moments ``(len(sizes), C)``."""
    shape, dtype = (len(sizes), x.shape[1]), at_least_float32(x[:0]).dtype
    weight = torch.ones(shape, dtype=dtype, device=x.device) if weight is None else _as(weight, dtype).expand(shape)
    bias = torch.zeros(shape, dtype=dtype, device=x.device) if bias is None else _as(bias, dtype).expand(shape)
    count: Any = torch.tensor(sizes, dtype=dtype, device=x.device).unsqueeze(1) * positions(x)
    if kernels.able(x):
        y, mean, var = kernels.BlockNorm.apply(x, weight, bias, tuple(sizes), eps)  # pyright: ignore[reportGeneralTypeIssues]
        biased = var * ((count - 1).clamp(min=0) / count.clamp(min=1))
        return y, Moments(mean, biased, sizes[0] * positions(x) if len(set(sizes)) == 1 else count)
    mean, var = torch.zeros_like(weight), torch.zeros_like(weight)
    blocks = []
    for row, block in enumerate(x.split(list(sizes))):
        y, found = native_norm(block, weight[row], bias[row], eps)  # an empty one too, for its gradients of 0
        mean[row], var[row] = found.mean, found.var
        blocks.append(y)
    return torch.cat(blocks), Moments(mean.detach(), var.detach(), count)


def native_fixed_norm(
    x: Tensor, mean: Tensor, var: Tensor, weight: Tensor | None, bias: Tensor | None, eps: float = 1e-5
) -> Tensor:
    """:func:`fixed_norm` of one population and one row through PyTorch's native kernel; all of ``(C,)``."""
    return F.batch_norm(x, mean, var, weight, bias, False, 0.0, eps)


def compose_affine(inner: Affine, outer: Affine) -> Affine:
    r"""Scale and bias of two affines after each other.

    .. math:: \gamma_o (\gamma_i x + \beta_i) + \beta_o = (\gamma_o \gamma_i)\, x + (\gamma_o \beta_i + \beta_o)

    Shape: any that broadcast; ``None`` is a scale of 1 or a bias of 0.

    Example:
        >>> compose_affine((torch.tensor(2.0), torch.tensor(1.0)), (torch.tensor(3.0), torch.tensor(0.5)))
        (tensor(6.), tensor(3.5000))
    """
    (inner_weight, inner_bias), (weight, bias) = inner, outer
    if weight is None:
        return inner_weight, _sum(inner_bias, bias)
    if inner_bias is not None:
        bias = weight * inner_bias if bias is None else torch.addcmul(bias, weight, inner_bias)
    return weight if inner_weight is None else weight * inner_weight, bias


def factor_affine(inner: Affine, merged: Affine) -> Affine:
    """The outer affine that :func:`compose_affine` merges with the inner one to the given one, but for rounding.

    Where the inner scale is 0 only a scale of 0 can be reached, which 0 does.
    """
    (inner_weight, inner_bias), (weight, bias) = inner, merged
    if weight is not None and inner_weight is not None:
        weight = torch.where(inner_weight == 0, 0, weight / inner_weight)
    if bias is not None and inner_bias is not None:
        bias = bias - (inner_bias if weight is None else weight * inner_bias)
    return weight, bias


def _apply(
    x: Tensor,
    mean: Tensor,
    var: Tensor,
    weight: Tensor | None,
    bias: Tensor | None,
    population: Tensor | None,
    row: Tensor | None,
    eps: float,
    link: kernels.Link | None,
) -> Tensor:
    """The affine pass. The offset is written around the detached mean, so that the pass may center ``x``."""
    dtype = mean.dtype
    mean, scale = _rows(mean, population), _rows((var + eps).rsqrt(), population)
    if weight is not None:
        scale = scale * _rows(weight, row).to(dtype)
    center = mean.detach()
    offset = (center - mean) * scale
    if bias is not None:
        offset = offset + _rows(bias, row).to(dtype)
    return affine_pass(x, scale, offset, center, link)


def affine_pass(x: Tensor, scale: Tensor, offset: Tensor, center: Tensor, link: kernels.Link | None = None) -> Tensor:
    """``scale * (x - center) + offset`` in the dtype of ``x``; coefficients ``(N, C)`` or ``(1, C)``, the center constant."""
    dtype = scale.dtype
    if kernels.able(x) and x.dtype == dtype:
        return kernels.Affine.apply(x, scale, offset, center, link)  # pyright: ignore[reportReturnType]
    expand = (..., *(None,) * (x.ndim - 2))
    return (x.to(dtype) * scale[expand] + (offset - center * scale)[expand]).to(x.dtype)


def _rows(table: Tensor, index: Tensor | None) -> Tensor:
    return table if index is None else table[index]


def _as(t: Tensor, dtype: torch.dtype) -> Tensor:
    return t if t.dtype == dtype else t.to(dtype)


def _sum(a: Tensor | None, b: Tensor | None) -> Tensor | None:
    return b if a is None else a if b is None else a + b
