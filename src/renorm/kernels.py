"""Passes over pixels that are fast in eager code on a CPU, and the autograd functions made of them.

Everything here works on one description of a batch: ``x`` seen as ``(N, C, P)``, N samples, C channels, P positions.
Plain PyTorch expressions of the same passes stand in :mod:`renorm.functional`, which chooses between them.
The passes run in chunks that fit the cache, so that the second read of a chunk is nearly free, and reuse native
kernels of PyTorch that are vectorized in both memory formats.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd import Function

CHUNK = 4 * 2**20  # bytes of x handled at a time
FEWEST = 1_500_000  # elements below which the native batch norm, where it can serve, is faster than these passes


def able(x: Tensor) -> bool:
    """Whether these passes can take ``x``: eager, on a CPU, float32 or float64, not empty, dense in either memory format."""
    if torch.compiler.is_compiling() or torch._C._get_tracing_state() or torch._C._are_functorch_transforms_active():
        return False
    if x.device.type != "cpu" or x.dtype not in (torch.float32, torch.float64) or x.ndim < 3 or type(x) is not Tensor:
        return False
    return x.numel() > 0 and (x.is_contiguous() or is_channels_last(x))


def faster(x: Tensor) -> bool:
    """Whether these passes are faster than the native kernel, which wins in channels_last and on small tensors."""
    return x.numel() >= FEWEST and x.is_contiguous() and able(x)


def is_channels_last(x: Tensor) -> bool:
    """Whether the channel is the fastest axis of ``x`` and no other axis is (a tie counts as contiguous)."""
    return x.ndim > 2 and not x.is_contiguous() and x.movedim(1, -1).is_contiguous()


def _pixels(x: Tensor) -> tuple[Tensor, int]:
    """``x`` as three axes without a copy, and the axis of the positions."""
    if x.is_contiguous():
        return x.flatten(2), 2
    return x.movedim(1, -1).flatten(1, -2), 1


def _per_chunk(z: Tensor) -> int:
    return max(1, CHUNK // max(1, z[0].numel() * z.element_size()))


def instance_moments(x: Tensor, scratch: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Mean and biased variance of every sample and channel over its positions: ``(N, C), (N, C)``.

    A tensor like ``x`` that is free to write to can serve as scratch: fresh memory costs page faults.
    """
    z, axis = _pixels(x)
    step = _per_chunk(z)
    square = _pixels(torch.empty_like(x[:step]) if scratch is None else scratch[:step])[0]
    mean, var = x.new_empty(x.shape[:2]), x.new_empty(x.shape[:2])
    for part, m, v in zip(z.split(step), mean.split(step), var.split(step), strict=True):
        deviation = square[: len(part)]
        torch.sum(part, axis, out=m).div_(z.shape[axis])
        torch.ops.aten.mse_loss.out(part, m.unsqueeze(axis), 0, out=deviation)
        torch.sum(deviation, axis, out=v)
    return mean, var.div_(z.shape[axis])


def products(g: Tensor, x: Tensor, center: Tensor, scratch: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Sums over positions of ``g`` and of ``g * (x - center)``; ``center`` is ``(N, C)``."""
    (z, axis), (u, _) = _pixels(x), _pixels(g)
    if axis == 2:
        center = center.reshape(-1)
        flat = [t.reshape(1, center.numel(), -1) for t in (u, z)]
        ones = torch.ones_like(center)
        _, dot, total = torch.ops.aten.native_batch_norm_backward(
            *flat, ones, None, None, center, ones, True, 0.0, [False, True, True]
        )
        return total.view(x.shape[:2]), dot.view(x.shape[:2])
    step = _per_chunk(z)
    product = _pixels(torch.empty_like(x[:step]) if scratch is None else scratch[:step])[0]
    total, dot = x.new_empty(x.shape[:2]), x.new_empty(x.shape[:2])
    chunks = (t.split(step) for t in (z, u, total, dot))
    for part, grad, t, d in zip(*chunks, strict=True):
        torch.sum(torch.mul(part, grad, out=product[: len(part)]), 1, out=d)
        torch.sum(grad, 1, out=t)
    return total, dot.addcmul_(total, center, value=-1)


def affine(
    x: Tensor,
    scale: Tensor,
    offset: Tensor,
    g: Tensor | None = None,
    gain: Tensor | None = None,
    out: Tensor | None = None,
) -> Tensor:
    """``x * scale + offset`` (``+ g * gain``) in one pass; coefficients are ``(N, C)``, or ``(1, C)`` for all samples."""
    y = torch.empty_like(x) if out is None else out
    (z, axis), (into, _) = _pixels(x), _pixels(y)
    if g is None or gain is None:
        _affine_into(into, z, axis, scale, offset)
        return y
    step = _per_chunk(z)
    chunks = (t.split(step) for t in (into, z, _pixels(g)[0]))
    rows = (t.split(step) if len(t) == len(z) else (t,) * -(-len(z) // step) for t in (scale, offset, gain))
    for to, part, grad, a, b, c in zip(*chunks, *rows, strict=True):
        _affine_into(to, part, axis, a, b)
        to.addcmul_(grad, c.unsqueeze(axis))
    return y


def _affine_into(out: Tensor, z: Tensor, axis: int, scale: Tensor, offset: Tensor) -> None:
    if axis == 1:
        torch.addcmul(offset.unsqueeze(1), z, scale.unsqueeze(1), out=out)
        return
    rows = scale.numel()  # with coefficients of its own each sample's channel is a channel of one sample
    shape = (1, rows, -1) if len(scale) > 1 else z.shape
    zero, one, empty = scale.new_zeros(rows), scale.new_ones(rows), (scale.new_empty(0), scale.new_empty(0))
    args = (z.view(shape), scale.reshape(-1), offset.reshape(-1), zero, one, False, 0.0, 0.0)
    torch.native_batch_norm(*args, out=(out.view(shape), *empty))


class Link:
    """What :class:`InstanceMoments` and :class:`Affine` of one norm tell each other.

    Backward, the gradient of ``y`` and its factor, which the moments fold into their own pass over the pixels; either way,
    the tensor that the second of them fills and the first uses as scratch.
    """

    def __init__(self) -> None:
        self.grad: Tensor | None = None
        self.scale: Tensor | None = None
        self.out: Tensor | None = None

    def take(self) -> Tensor | None:
        """The tensor to fill, once."""
        out, self.out = self.out, None
        return out


class InstanceMoments(Function):
    """Differentiable :func:`instance_moments`; its backward also finishes the gradient of the linked :class:`Affine`."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, link: Link) -> tuple[Tensor, Tensor]:  # pyright: ignore[reportIncompatibleMethodOverride]
        link.out = torch.empty_like(x)
        mean, var = instance_moments(x, link.out)
        ctx.save_for_backward(x, mean)
        ctx.link = link
        return mean, var

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:
        x, mean = ctx.saved_tensors
        link, positions = ctx.link, x[0, 0].numel()
        slope, shift = grads[1] * (2 / positions), grads[0] / positions
        if torch.is_grad_enabled() or link.grad is None:
            expand = (..., *(None,) * (x.ndim - 2))
            return (x - mean[expand]) * slope[expand] + shift[expand], None
        gx = affine(x, slope, torch.addcmul(shift, slope, mean, value=-1), link.grad, link.scale, link.take())
        link.grad = link.scale = None
        return gx, None


class Affine(Function):
    """``scale * (x - center) + offset`` per sample and channel, or ``(1, C)`` for all; ``center`` is a constant.

    Centering keeps the gradient of ``scale`` free of cancellation when means are large. With a :class:`Link` the
    gradient of ``x`` is left to :class:`InstanceMoments`, unless second derivatives are asked for.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, scale: Tensor, offset: Tensor, center: Tensor, link: Link | None) -> Tensor:  # pyright: ignore[reportIncompatibleMethodOverride]
        ctx.save_for_backward(x, scale, center)
        ctx.link = link
        return affine(x, scale, torch.addcmul(offset, scale, center, value=-1), out=link.take() if link else None)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        x, scale, center = ctx.saved_tensors
        (g,) = grads
        if torch.is_grad_enabled():
            expand = (..., *(None,) * (x.ndim - 2))
            space = tuple(range(2, x.ndim))
            gx = g * scale[expand]
            total, dot = g.sum(space), (g * (x - center[expand])).sum(space)
        else:
            g = _like(g, x)
            gx = _delegate(ctx, g, scale, x)
            total, dot = products(g, x, center.expand(x.shape[:2]), ctx.link.out if ctx.link else None)
        if len(scale) != len(x):
            total, dot = total.sum(0, True), dot.sum(0, True)
        return gx, dot, total, None, None


def _like(g: Tensor, x: Tensor) -> Tensor:
    """A gradient in the memory format of its tensor."""
    return g if g.stride() == x.stride() else torch.empty_like(x).copy_(g)


def _delegate(ctx: Any, g: Tensor, scale: Tensor, x: Tensor) -> Tensor | None:
    if not ctx.needs_input_grad[0]:
        return None
    if ctx.link is None:
        return affine(g, scale, torch.zeros_like(scale))
    ctx.link.grad, ctx.link.scale, ctx.link.out = g, scale, torch.empty_like(x)
    return None


class BlockNorm(Function):
    """Consecutive blocks of samples, each normalized by the native kernel, into one output: no copy of any block.

    Takes weight and bias ``(len(sizes), C)``; returns y, and the blocks' means and unbiased variances, zeros where empty.
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
            return *_differentiable_block_gradients(grads[0], x, weight, ctx.sizes, ctx.eps), None, None
        g = _like(grads[0], x)
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
    affine(x, slope[None], shift[None], g, gain[None], out)


def _differentiable_block_gradients(
    g: Tensor, x: Tensor, weight: Tensor, sizes: tuple[int, ...], eps: float
) -> tuple[Tensor, ...]:
    """The same gradients by native operations, whose own derivatives exist."""
    bias = torch.zeros_like(weight).requires_grad_()
    blocks = [
        F.batch_norm(block, None, None, w, b, True, 0.0, eps) if len(block) else block
        for block, w, b in zip(x.split(sizes), weight, bias, strict=True)
    ]
    return torch.autograd.grad(torch.cat(blocks), (x, weight, bias), g, create_graph=True, materialize_grads=True)
