"""Passes over pixels, and the one function made of them.

The only reductions over pixels are sums per sample and channel. So whatever is done to features is bookkeeping on tables
``(N, C)`` between a pass that reads moments and a pass that writes ``scale * (x - centre) + offset``. The bookkeeping is a
*rule*, plain differentiable PyTorch whose derivatives are autograd's own; what touches pixels is here, once.

Passes are native kernels, vectorized in both memory formats, of ``x`` seen as ``(N, C, P)``. Nothing else is fast in eager
code on a CPU: ``var_mean``, ``x.var`` and strided slices take 10 to 20 times as long.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager, nullcontext
from itertools import repeat
from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function, forward_ad
from torch.autograd.graph import saved_tensors_hooks

CHUNK = 4 * 2**20  # bytes of x handled at a time, so that a second read of them hits the cache
FEWEST = 1_500_000  # elements below which one call of the native norm, where it can serve, costs less than the tables
Table = Tensor | None
Rule = Callable[..., tuple[Any, ...]]


def renormalize(x: Tensor, rule: Rule | None, *tables: Table) -> tuple[Any, ...]:
    r"""New features by a rule about the moments of samples.

    .. math:: y = s\,(x - c) + o, \qquad s, o, c, \ldots = \text{rule}(\mu, \sigma^2, \text{tables})

    with the mean and biased variance of each sample and channel. The centre c is a constant (detached) close to the mean, so that
    the sums of backward, of g and of g (x - c), cancel as little as can be. Gradients flow through everything else.

    Shape: x ``(N, C, *)``; the rule gets two tables ``(N, C)`` and returns s, o and c, of ``(N, C)`` or ``(1, C)``.

    Returns:
        y, and whatever else the rule returns after s, o and c.

    Args:
        rule: holds no reference to x, which checkpointing could not free. ``None`` where no moments are needed, the tables
            being s, o and c.
        tables: what the rule needs gradients for, of any shape.
    """
    if able(x):
        if not torch.is_grad_enabled() or not any(t is not None and t.requires_grad for t in (x, *tables)):
            return _renormalized(x, rule, tables)  # a node of autograd would cost as much as the tables
        return _Renormalize.apply(x, rule, *tables)  # pyright: ignore[reportReturnType]
    return by_formula(x, rule, *tables)


def by_formula(x: Tensor, rule: Rule | None, *tables: Any) -> tuple[Any, ...]:
    """:func:`renormalize` in plain operations: compiled, on other devices, in half types, and for second derivatives."""
    z = x if x.dtype == torch.float64 else x.float()
    scale, offset, centre, *others = rule(*plain_moments(z), *tables) if rule is not None else tables
    # Not (z - centre) * scale + offset, which would change bits where an exchange gives a sample its own moments.
    scale, offset = (t[(..., *(None,) * (x.ndim - 2))] for t in (scale, offset - centre * scale))
    return (z * scale + offset).to(x.dtype), *others


def around(mean: Tensor, scale: Tensor, offset: Table = None) -> tuple[Tensor, Tensor, Tensor]:
    """What a rule returns for ``scale * (x - mean) + offset``, where gradients flow through the mean too."""
    centre = mean.detach()
    through = (centre - mean) * scale
    return scale, through if offset is None else through + offset, centre


def able(x: Tensor) -> bool:
    """Whether the passes can take ``x``: eager, on a CPU, float32 or float64, not empty, dense in either memory format."""
    if torch.compiler.is_compiling() or torch._C._get_tracing_state() or torch._C._are_functorch_transforms_active():
        return False
    if forward_ad._current_level >= 0:  # what is written into a tensor given would lose its tangent
        return False
    if x.device.type != "cpu" or x.dtype not in (torch.float32, torch.float64) or x.ndim < 3 or type(x) is not Tensor:
        return False
    return x.numel() > 0 and (x.is_contiguous() or x.movedim(1, -1).is_contiguous())


def faster(x: Tensor) -> bool:
    """Whether the passes are faster than the native kernel, which wins in channels_last and on small tensors."""
    return x.numel() >= FEWEST and x.is_contiguous() and able(x)


def _renormalized(x: Tensor, rule: Rule | None, tables: Sequence[Table]) -> tuple[Any, ...]:
    """Two passes, of which nothing is kept."""
    y = torch.empty_like(x)
    read = sample_moments(x, scratch=y) if rule is not None else ()
    found = rule(*read, *tables) if rule is not None else tables
    scale, offset, centre, *others = _alike(x, *found)
    affine(x, scale, torch.addcmul(offset, scale, centre, value=-1), y)
    return y, *others


def _alike(x: Tensor, scale: Any, offset: Any, centre: Any, *others: Any) -> tuple[Any, ...]:
    """What a rule returns, scale and offset in one shape, in the type of ``x``."""
    scale, offset = scale.to(x.dtype), offset.to(x.dtype)
    if scale.shape != offset.shape:
        scale, offset = torch.broadcast_tensors(scale, offset)
    return scale, offset, centre.detach().to(x.dtype), *others


class _Renormalize(Function):
    """Two passes forward, two backward. Between them autograd differentiates the rule, once the sums over pixels are known."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, rule: Rule | None, *tables: Table) -> tuple[Any, ...]:  # pyright: ignore[reportIncompatibleMethodOverride]
        y = torch.empty_like(x)
        read = sample_moments(x, scratch=y) if rule is not None else (None, None)
        leaves: list[Any] = [_leaf(t, x.requires_grad) for t in read]
        leaves += [_leaf(t, t is not None and t.requires_grad) for t in tables]
        with torch.enable_grad(), _kept():
            scale, offset, centre, *others = _alike(x, *(rule(*leaves) if rule is not None else leaves[2:]))
        ctx.save_for_backward(x, *tables)
        ctx.rule, ctx.leaves, ctx.found = rule, leaves, (scale, offset, centre, *others)
        ctx.set_materialize_grads(False)
        results = [t.detach() if isinstance(t, Tensor) else t for t in others]
        pairs = zip(others, results, strict=True)
        ctx.mark_non_differentiable(*(out for t, out in pairs if isinstance(t, Tensor) and not t.requires_grad))
        scale, offset = scale.detach(), offset.detach()
        affine(x, scale, torch.addcmul(offset, scale, centre, value=-1), y)
        return y, *results

    @staticmethod
    def backward(ctx: Any, *grads: Table) -> tuple[Table, ...]:
        x, *tables = ctx.saved_tensors
        if torch.is_grad_enabled() or torch._C._are_functorch_transforms_active():  # differentiable, or many by vmap
            gx, *found = _gradients_by_formula(ctx.rule, (x, *tables), grads)
            return gx, None, *found
        g = torch.zeros_like(x) if grads[0] is None else like(grads[0], x)
        scale, offset, centre, *others = ctx.found
        gx, sums = torch.empty_like(x), [None, None]
        if scale.requires_grad or offset.requires_grad:
            sums = sample_products(g, x, centre.expand(x.shape[:2]), scratch=gx)
            sums = sums if len(scale) == len(x) else [t.sum(0, keepdim=True) for t in sums]
        ends, starts = (offset, scale, *others), (*sums, *grads[1:])
        gmean, gvar, *found = _gradients(ends, starts, ctx.leaves, retain_graph=True)
        if not ctx.needs_input_grad[0]:
            return None, None, *found
        return _input_gradient(ctx, x, g, gmean, gvar, gx), None, *found


def _input_gradient(ctx: Any, x: Tensor, g: Tensor, gmean: Table, gvar: Table, out: Tensor) -> Tensor:
    """What reaches ``x`` directly and through its moments, in one pass."""
    mean, scale = ctx.leaves[0], ctx.found[0]
    if mean is None or (gmean is None and gvar is None):
        return affine(g, scale, torch.zeros_like(scale), out)
    gmean, gvar = (torch.zeros_like(mean) if t is None else t for t in (gmean, gvar))
    slope, shift = gvar * (2 / x[0, 0].numel()), gmean / x[0, 0].numel()
    return affine(x, slope, torch.addcmul(shift, slope, mean, value=-1), out, g, scale)


def _leaf(table: Table, wanted: bool) -> Table:
    return table if table is None else table.detach().requires_grad_(wanted)


def _kept() -> AbstractContextManager[object]:
    """What autograd keeps of the rule just stays: activation checkpointing would compute it again, and it is small.

    Only where hooks would take it, as a pair of our own costs 2 % of a call. Detached, as a node that holds its own output by a
    hook is a cycle that nothing frees.
    """
    hooks: Any = getattr(getattr(torch._C, "_autograd", None), "_top_saved_tensors_default_hooks", None)
    free = hooks is not None and hooks(False) is None
    return nullcontext() if free else saved_tensors_hooks(Tensor.detach, _same)


def _same(t: Tensor) -> Tensor:
    return t


def _gradients_by_formula(rule: Rule | None, inputs: Sequence[Table], grads: Sequence[Table]) -> list[Table]:
    differentiable = torch.is_grad_enabled()
    with torch.enable_grad():
        outputs = by_formula(inputs[0], rule, *inputs[1:])  # pyright: ignore[reportArgumentType]
    return _gradients(outputs, grads, inputs, create_graph=differentiable)


def _gradients(outputs: Iterable[Any], grads: Iterable[Table], inputs: Sequence[Table], **options: bool) -> list[Table]:
    """The gradient of each input, ``None`` where it needs none or gets none."""
    pairs = [(t, g) for t, g in zip(outputs, grads, strict=True) if g is not None and t.requires_grad]
    wanted = [t for t in inputs if t is not None and t.requires_grad]
    if not pairs or not wanted:
        return [None] * len(inputs)
    ends, starts = zip(*pairs, strict=True)
    found = iter(torch.autograd.grad(ends, wanted, starts, allow_unused=True, **options))
    return [next(found) if t is not None and t.requires_grad else None for t in inputs]


def plain_moments(z: Tensor) -> tuple[Tensor, Tensor]:
    """:func:`sample_moments` in plain operations, differentiable."""
    if z.ndim == 2:
        return z, torch.zeros_like(z)
    space = tuple(range(2, z.ndim))
    mean = z.mean(space, keepdim=True)
    return mean.flatten(1), (z - mean).square().mean(space)


def sample_moments(x: Tensor, scratch: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Mean and biased variance of every sample and channel over its positions: ``(N, C), (N, C)``.

    A tensor like ``x`` that is free to write to can serve as scratch: fresh memory costs page faults. One chunk of it is
    written again and again, as a walk through all of it would push ``x`` out of the cache.
    """
    z, axis = _pixels(x)
    square = _pixels(torch.empty_like(x[: _step(x)]) if scratch is None else scratch[: _step(x)])[0]
    mean, var = x.new_empty(x.shape[:2]), x.new_empty(x.shape[:2])
    for part, m, v in _chunks(z, mean, var):
        deviation = square[: len(part)]
        torch.sum(part, axis, out=m).div_(z.shape[axis])
        torch.ops.aten.mse_loss.out(part, m.unsqueeze(axis), 0, out=deviation)  # (part - m) ** 2 in one pass
        torch.sum(deviation, axis, out=v)
    return mean, var.div_(z.shape[axis])


def sample_products(g: Tensor, x: Tensor, centre: Tensor, scratch: Tensor) -> tuple[Tensor, Tensor]:
    """Sums over positions of ``g`` and of ``g * (x - centre)``; ``centre`` is ``(N, C)``, ``scratch`` like ``x``."""
    (z, axis), (u, _) = _pixels(x), _pixels(g)
    if axis == 2:  # what the native kernel sums for its affine: each sample's channel is a channel of one sample
        centre = centre.reshape(-1)
        flat = [t.reshape(1, centre.numel(), -1) for t in (u, z)]
        ones = torch.ones_like(centre)
        _, dot, total = torch.ops.aten.native_batch_norm_backward(
            *flat, ones, None, None, centre, ones, True, 0.0, [False, True, True]
        )
        return total.view(x.shape[:2]), dot.view(x.shape[:2])
    product = _pixels(scratch[: _step(x)])[0]
    total, dot = x.new_empty(x.shape[:2]), x.new_empty(x.shape[:2])
    for part, grad, t, d in _chunks(z, u, total, dot):
        torch.sum(torch.mul(part, grad, out=product[: len(part)]), 1, out=d)
        torch.sum(grad, 1, out=t)
    return total, dot.addcmul_(total, centre, value=-1)


def affine(x: Tensor, scale: Tensor, offset: Tensor, out: Tensor, g: Table = None, gain: Table = None) -> Tensor:
    """``x * scale + offset`` (``+ g * gain``) in one pass; tables are ``(N, C)``, or ``(1, C)`` for all samples."""
    (z, axis), (into, _) = _pixels(x), _pixels(out)
    if g is None or gain is None:
        _affine_into(into, z, axis, scale, offset)
        return out
    for part, to, grad, a, b, c in _chunks(z, into, _pixels(g)[0], scale, offset, gain):
        _affine_into(to, part, axis, a, b)
        to.addcmul_(grad, c.unsqueeze(axis))
    return out


def _affine_into(out: Tensor, z: Tensor, axis: int, scale: Tensor, offset: Tensor) -> None:
    if axis == 1:
        torch.addcmul(offset.unsqueeze(1), z, scale.unsqueeze(1), out=out)
        return
    # The native norm in evaluation, of mean 0 and variance 1. With tables by sample each sample's channel is a channel.
    rows = scale.numel()
    shape = (1, rows, -1) if len(scale) > 1 else z.shape
    zero, one, empty = scale.new_zeros(rows), scale.new_ones(rows), (scale.new_empty(0), scale.new_empty(0))
    args = (z.view(shape), scale.reshape(-1), offset.reshape(-1), zero, one, False, 0.0, 0.0)
    torch.native_batch_norm(*args, out=(out.view(shape), *empty))


def like(g: Tensor, x: Tensor) -> Tensor:
    """A gradient in the memory format of its tensor."""
    return g if g.stride() == x.stride() else torch.empty_like(x).copy_(g)


def _pixels(x: Tensor) -> tuple[Tensor, int]:
    """``x`` as three axes without a copy, and the axis of the positions."""
    return (x.flatten(2), 2) if x.is_contiguous() else (x.movedim(1, -1).flatten(1, -2), 1)


def _step(x: Tensor) -> int:
    """How many samples a chunk has."""
    return max(1, CHUNK // max(1, x[0].numel() * x.element_size()))


def _chunks(z: Tensor, *others: Tensor) -> Iterable[tuple[Tensor, ...]]:
    """Chunks of ``z`` and of what belongs to it; a table of one row belongs to all samples."""
    step = _step(z)
    if step >= len(z):
        return [(z, *others)]
    return zip(z.split(step), *(t.split(step) if len(t) == len(z) else repeat(t) for t in others), strict=False)
