"""Moments of samples: computing, pooling and merging them, over ranks too."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
import torch.distributed as dist
from torch import Tensor

from renorm.functional import passes


class Moments(NamedTuple):
    """Mean and **biased** variance of the values in a sample, and how many values there were."""

    mean: Tensor
    var: Tensor
    count: Tensor | float  # pyright: ignore[reportIncompatibleMethodOverride]


def moments(x: Tensor, dims: Sequence[int]) -> Moments:
    r"""Moments over ``dims``, kept as axes of size 1.

    .. math:: \mu = \tfrac1n \sum x, \qquad \sigma^2 = \tfrac1n \sum (x - \mu)^2

    Half types are computed in float32, float64 stays float64.

    Example:
        >>> moments(torch.tensor([[1.0, 3.0]]), dims=[1]).var
        tensor([[1.]])
    """
    x = at_least_float32(x)
    dims = list(dims)
    mean = x.mean(dims, keepdim=True)
    var = (x - mean).square().mean(dims, keepdim=True)
    return Moments(mean, var, x.numel() / max(1, mean.numel()))


def merge(a: Moments, b: Moments) -> Moments:
    r"""Moments of two samples pooled.

    .. math:: \mu = \mu_a + w \delta, \qquad \sigma^2 = (1-w)\sigma_a^2 + w\sigma_b^2 + w(1-w)\delta^2,
        \qquad w = n_b / (n_a + n_b), \quad \delta = \mu_b - \mu_a

    Never computes :math:`E[x^2] - E[x]^2`, which cancels to 0 in float32 for large means. An empty sample changes nothing.

    Shape: mean and var alike in both; counts broadcast to them.

    Reference: Chan, Golub & LeVeque, *Updating formulae and a pairwise algorithm for computing sample variances*, 1979.
    """
    count = a.count + b.count
    weight = b.count / torch.as_tensor(count, dtype=a.mean.dtype, device=a.mean.device).clamp(min=1)
    delta = b.mean - a.mean
    mean = a.mean + weight * delta
    var = (1 - weight) * a.var + weight * b.var + weight * (1 - weight) * delta.square()
    return Moments(mean, var, count)


def unbiased(m: Moments) -> Tensor:
    r"""The variance that running statistics store, :math:`\sigma^2 n / (n - 1)`; unchanged where n < 2."""
    if not isinstance(m.count, Tensor):
        return m.var * (m.count / max(m.count - 1, 1))
    count = m.count.to(m.var)
    return m.var * (count / (count - 1).clamp(min=1))


def instance_moments(x: Tensor) -> Moments:
    """Moments of every sample and channel over its positions. Shape: ``(N, C, *)`` to ``(N, C)``, count P."""
    z = at_least_float32(x)
    constant = not (z.requires_grad and torch.is_grad_enabled())
    read = passes.sample_moments if constant and passes.able(z) else passes.plain_moments
    return Moments(*read(z), positions(x))


def batch_moments(x: Tensor) -> Moments:
    """Moments of a batch over samples and positions, by the fastest kernel there is; zeros and count 0 for an empty one.

    Shape: ``(N, C, *)`` to ``(C,)``.
    """
    z = at_least_float32(x).detach()
    count = z.numel() // max(1, z.shape[1])
    if count == 0:
        zeros = z.new_zeros(z.shape[1])
        return Moments(zeros, zeros, 0)
    if passes.able(z) and z.is_contiguous():
        whole = pool(instance_moments(z))
        return Moments(whole.mean[0], whole.var[0], count)
    if z.device.type in ("cpu", "cuda"):
        return Moments(*torch.batch_norm_update_stats(z, None, None, 0.0), count)
    m = moments(z, [0, *range(2, z.ndim)])
    return Moments(m.mean.flatten(), m.var.flatten(), count)


def pool(m: Moments, population: Tensor | None = None, num_populations: int = 1) -> Moments:
    r"""Merge the moments of samples into those of their populations.

    .. math:: \mu_k = \frac1{n_k} \sum_{n \in k} \mu_n, \qquad
        \sigma^2_k = \frac1{n_k} \sum_{n \in k} \sigma^2_n + (\mu_n - \mu_k)^2

    which is Chan's merge for samples of one size. A population without samples has count 0 and zeros.

    Shape: ``(N, C)`` to ``(K, C)``, counts in values per channel: ``(K, 1)``, a number for one population.
    """
    if population is None:
        size = max(len(m.mean), 1)
        mean = m.mean.sum(0, keepdim=True) / size
        var = (m.var + (m.mean - mean).square()).sum(0, keepdim=True) / size
        return Moments(mean, var, len(m.mean) * m.count)
    zeros = m.mean.new_zeros(num_populations, m.mean.shape[1])
    n = zeros[:, :1].index_add(0, population, m.mean.new_ones(len(population), 1))
    mean = zeros.index_add(0, population, m.mean) / n.clamp(min=1)
    spread = m.var + (m.mean - mean[population]).square()
    return Moments(mean, zeros.index_add(0, population, spread) / n.clamp(min=1), n * m.count)


def all_merge(m: Moments, group: dist.ProcessGroup | None) -> Moments:
    """Moments merged over the ranks of ``group``, exact for uneven and empty ranks, differentiable.

    One collective of ``(count, mean, var)``. Every rank must call it, one without samples too.
    """
    packed = torch.cat([torch.as_tensor(m.count).to(m.mean).expand(len(m.mean), 1), m.mean, m.var], 1)
    ranks: Tensor = _AllGather.apply(packed, group)  # pyright: ignore[reportAssignmentType]
    channels = m.mean.shape[1]
    count, mean, var = ranks.split([1, channels, channels], dim=2)
    total = count.sum(0)
    weight = count / total.clamp(min=1)
    pooled = (weight * mean).sum(0)
    return Moments(pooled, (weight * (var + (mean - pooled).square())).sum(0), total)


class _AllGather(torch.autograd.Function):
    """Stack a tensor of every rank; the gradient of each rank's part is the sum over all ranks."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, group: dist.ProcessGroup | None) -> Tensor:  # pyright: ignore[reportIncompatibleMethodOverride]
        ctx.group = group
        parts = [torch.empty_like(x) for _ in range(dist.get_world_size(group))]
        dist.all_gather(parts, x.contiguous(), group=group)
        return torch.stack(parts)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:
        grad = grads[0].contiguous().clone()
        dist.all_reduce(grad, group=ctx.group)
        return grad[dist.get_rank(ctx.group)], None


def positions(x: Tensor) -> int:
    """How many positions a sample has."""
    return math.prod(x.shape[2:])


def at_least_float32(x: Tensor) -> Tensor:
    """The tensor, in float32 if it is of a narrower type."""
    return x if x.dtype in (torch.float32, torch.float64) else x.float()
