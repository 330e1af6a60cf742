"""Normalizing every sample by the moments of its population, and scaling it by the affine of its row or of two in one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd import Function

from renorm.functional.moments import Moments, at_least_float32, pool, positions
from renorm.functional.passes import able, affine, around, like, renormalize

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
    count = positions(x)

    def rule(mean: Tensor, var: Tensor, weight: Tensor | None, bias: Tensor | None) -> tuple[Any, ...]:
        batch = pool(Moments(mean, var, count), population, num_populations)
        batch = batch if merge_ranks is None else merge_ranks(batch)
        tables = _tables(batch, (weight, bias), population, row, eps)
        return *tables, batch.mean.detach(), batch.var.detach(), batch.count

    y, *batch = renormalize(x, rule, weight, bias)
    return y, Moments(*batch)


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
    given = Moments(mean.detach(), var.detach(), 0)
    return renormalize(x, None, *_tables(given, (weight, bias), population, row, eps))[0]


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
    if able(x):
        y, mean, var = _BlockNorm.apply(x, weight, bias, tuple(sizes), eps)  # pyright: ignore[reportGeneralTypeIssues]
    else:
        y, mean, var = _blocks_apart(x, weight, bias, sizes, eps)
    count: Any = torch.tensor(sizes, dtype=dtype, device=x.device).unsqueeze(1) * positions(x)
    biased = var * ((count - 1).clamp(min=0) / count.clamp(min=1))
    return y, Moments(mean, biased, sizes[0] * positions(x) if len(set(sizes)) == 1 else count)


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


class _BlockNorm(Function):
    """Consecutive blocks of samples, each normalized by the native kernel, into one output: no copy of any block.

    Not a rule, as in channels_last the native kernel takes two thirds of the time of the passes: 1.2 to 1.4 of a plain norm
    where these take 1.8 to 1.9. Takes weight and bias ``(len(sizes), C)``; returns y, and the blocks' means and unbiased
    variances, zeros where empty.
    """

    @staticmethod
    def forward(  # pyright: ignore[reportIncompatibleMethodOverride]
        ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, sizes: tuple[int, ...], eps: float
    ) -> tuple[Tensor, Tensor, Tensor]:
        y, (mean, var, again, inverse) = torch.empty_like(x), weight.new_zeros(4, *weight.shape)
        for part, out, *row in zip(
            x.split(sizes), y.split(sizes), weight, bias, mean, var, again, inverse, strict=True
        ):
            if len(part):
                w, b, m, v, *saved = row
                torch.native_batch_norm(part, w, b, m, v, True, 1.0, eps, out=(out, *saved))
        ctx.save_for_backward(x, weight, mean, inverse)
        ctx.sizes, ctx.eps = sizes, eps
        ctx.mark_non_differentiable(mean, var)
        return y, mean, var

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        x, weight, mean, inverse = ctx.saved_tensors
        if torch.is_grad_enabled():
            return *_block_gradients_by_formula(grads[0], x, weight, ctx.sizes, ctx.eps), None, None
        g = like(grads[0], x)
        gx, gw, gb = torch.empty_like(x), torch.zeros_like(weight), torch.zeros_like(weight)
        gain = weight * inverse
        per_value = gain / (gain.new_tensor(ctx.sizes).clamp_(min=1) * -x[0, 0].numel()).unsqueeze(1)
        tables = (weight, mean, inverse, gain, per_value, per_value * inverse, gw, gb)
        for *block, out, rows in zip(*(t.split(ctx.sizes) for t in (g, x, gx)), zip(*tables, strict=True), strict=True):
            if len(out):
                _block_gradients(*block, out, *rows)
        return gx, gw, gb, None, None


def _block_gradients(g: Tensor, x: Tensor, out: Tensor, *rows: Tensor) -> None:
    """Gradients of one block into ``out`` and the last two rows, at once: its second read hits the cache."""
    weight, mean, inverse, gain, per_value, per_deviation, gw, gb = rows
    args = (g, x, weight, None, None, mean, inverse, True, 0.0, [False, True, True])
    _, dot, total = torch.ops.aten.native_batch_norm_backward(*args)
    gw.copy_(dot)
    gb.copy_(total)
    slope = per_deviation * dot
    shift = (per_value * total).addcmul_(slope, mean, value=-1)
    affine(x, slope[None], shift[None], out, g, gain[None])


def _block_gradients_by_formula(
    g: Tensor, x: Tensor, weight: Tensor, sizes: Sequence[int], eps: float
) -> tuple[Tensor, ...]:
    """The same by native operations, whose own derivatives exist."""
    bias = torch.zeros_like(weight).requires_grad_()
    y = _blocks_apart(x, weight, bias, sizes, eps)[0]
    return torch.autograd.grad(y, (x, weight, bias), g, create_graph=True, materialize_grads=True)


def _blocks_apart(
    x: Tensor, weight: Tensor, bias: Tensor, sizes: Sequence[int], eps: float
) -> tuple[Tensor, Tensor, Tensor]:
    """Each block by a call of its own; also means and unbiased variances."""
    mean, var = torch.zeros_like(weight), torch.zeros_like(weight)
    blocks = [
        F.batch_norm(block, m, v, w, b, True, 1.0, eps)  # an empty one too, for its gradients of 0
        for block, m, v, w, b in zip(x.split(list(sizes)), mean, var, weight, bias, strict=True)
    ]
    return torch.cat(blocks), mean, var


def _tables(
    m: Moments, affine: Affine, population: Tensor | None, row: Tensor | None, eps: float
) -> tuple[Tensor, Tensor, Tensor]:
    """Scale, offset and centre of every sample."""
    mean, scale = _rows(m.mean, population), _rows((m.var + eps).rsqrt(), population)
    weight, bias = affine
    if weight is not None:
        scale = scale * _rows(weight, row).to(mean.dtype)
    return around(mean, scale, None if bias is None else _rows(bias, row).to(mean.dtype))


def _rows(table: Tensor, index: Tensor | None) -> Tensor:
    return table if index is None else table[index]


def _as(t: Tensor, dtype: torch.dtype) -> Tensor:
    return t if t.dtype == dtype else t.to(dtype)


def _sum(a: Tensor | None, b: Tensor | None) -> Tensor | None:
    return b if a is None else a if b is None else a + b
