"""Giving samples the moments of others, over any part of a sample.

Every part is a group of channels, taken at each position alone (*positional*: ``pono``, ``gpono``) or over all positions
(``in``, ``ln``, ``gn``). So two forms serve all of them: a positional part is a channel of a transposed view, one over
positions is merged from moments per channel.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from renorm.functional.moments import Moments, at_least_float32, positions, unbiased
from renorm.functional.passes import around, renormalize

OVER = ("pono", "in", "ln", "gn", "gpono")
Tables = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]  # from means and deviations, ``(N, M)``, to new ones


def exchange_moments(
    x: Tensor,
    permutation: Tensor,
    over: str = "pono",
    *,
    groups: int | None = None,
    group_size: int | None = None,
    eps: float = 1e-5,
    positive_only: bool = False,
    detach: bool = False,
    channel_dim: int = 1,
) -> Tensor:
    r"""Give every sample the moments of another, part by part.

    .. math:: y_n = \sigma_{\pi(n)} \frac{x_n - \mu_n}{\sigma_n} + \mu_{\pi(n)}, \qquad \sigma = \sqrt{v + \epsilon}

    with v the **unbiased** variance. Where :math:`\pi(n) = n`, the sample is kept bit for bit.

    ========  ===========================================  ============================
    over      moments of                                   shape for ``(N, C, H, W)``
    ========  ===========================================  ============================
    pono      channels, at each position                   ``(N, 1, H, W)``
    in        positions, of each channel                   ``(N, C, 1, 1)``
    ln        channels and positions                       ``(N, 1, 1, 1)``
    gn        channels of a group, and positions           ``(N, K, 1, 1, 1)``
    gpono     channels of a group, at each position        ``(N, K, 1, H, W)``
    ========  ===========================================  ============================

    With ``positive_only`` (features after a ReLU) moments are those of the strictly positive values of a part, with the
    biased variance, applied to all of its values. The published form divides by :math:`\sqrt\epsilon` where a single value
    is positive, a factor of 316; here a part keeps its values where it, or its donor's, has fewer than two positive ones.

    Shape: ``(N, C, *)`` to the same, in the same dtype and memory format. Half types are computed in float32.

    Reduces to: adaptive instance normalization towards ``x[permutation]`` for ``in``; ``ln`` for ``gn`` of one group,
    ``in`` for ``gn`` of C groups, ``pono`` for ``gpono`` of one group.

    Args:
        permutation: ``(N,)`` int64, the donor of each sample.
        over: what moments are taken over, see above.
        groups: K, for ``gn`` and ``gpono``.
        group_size: channels of a group, in place of ``groups``.
        positive_only: moments of positive values only.
        detach: no gradient through the moments.
        channel_dim: where channels are, -1 for tokens ``(N, T, C)``.

    Raises:
        ValueError: an unknown name, groups that do not divide the channels, parts of a single value.
        TypeError: values that are not floating point, donors that are not int64.

    Reference: Li, Wu, Lim, Belongie & Weinberger, *On feature normalization and data augmentation*, CVPR 2021.

    Example:
        >>> x = torch.tensor([[[1.0, 2.0]], [[0.0, -4.0]]])
        >>> exchange_moments(x, torch.tensor([1, 0]), "in").flatten(1).round(decimals=3)
        tensor([[-4., -0.],
                [ 2.,  1.]])
    """
    check_over(over, groups, group_size)
    x, donors = _channels_second(x, channel_dim), _donors(permutation, x)
    grouping = grouping_of(x, over, groups, group_size)
    if positive_only:
        y = _by_positive_values(x, donors, grouping, eps, detach)
    else:
        y, *_ = _with_moments(x, grouping, eps, detach, lambda mean, std: (_of(mean, donors), _of(std, donors)))
    return y.movedim(1, channel_dim)


def mix_moments(
    x: Tensor,
    permutation: Tensor,
    weight: float | Tensor,
    over: str = "in",
    *,
    groups: int | None = None,
    group_size: int | None = None,
    eps: float = 1e-6,
    detach: bool = True,
    channel_dim: int = 1,
) -> Tensor:
    r"""Give every sample moments between its own and another's: MixStyle, by default.

    .. math:: y_n = \sigma \frac{x_n - \mu_n}{\sigma_n} + \mu, \qquad
        \mu = w_n \mu_n + (1 - w_n) \mu_{\pi(n)}, \quad \sigma = w_n \sigma_n + (1 - w_n) \sigma_{\pi(n)}

    As published, weights are drawn from Beta(0.1, 0.1) for every sample, in half of the steps, and labels stay as they are.

    Shape, arguments and errors: as :func:`exchange_moments`.

    Reduces to: :func:`exchange_moments` for weight 0, the input for weight 1.

    Args:
        weight: of a sample's own moments, a number or ``(N,)``.

    Reference: Zhou, Yang, Qiao & Xiang, *Domain generalization with MixStyle*, ICLR 2021.

    Example:
        >>> x = torch.tensor([[[1.0, 2.0]], [[0.0, -4.0]]])
        >>> mix_moments(x, torch.tensor([1, 0]), 0.5).flatten(1).round(decimals=3)
        tensor([[-1.5000,  1.0000],
                [ 1.0000, -1.5000]])
    """
    check_over(over, groups, group_size)
    x, donors = _channels_second(x, channel_dim), _donors(permutation, x)
    grouping = grouping_of(x, over, groups, group_size)

    def between(own: Tensor) -> Tensor:
        other = _of(own, donors)
        if not isinstance(weight, Tensor):
            return torch.lerp(other, own, weight)
        return torch.lerp(other, own, weight.to(own).view(-1, 1))

    y, *_ = _with_moments(x, grouping, eps, detach, lambda mean, std: (between(mean), between(std)))
    return y.movedim(1, channel_dim)


def pono(x: Tensor, eps: float = 1e-5) -> tuple[Tensor, Moments]:
    r"""Positional normalization: normalize every position over its channels.

    .. math:: y = \frac{x - \mu}{\sigma}, \qquad \sigma = \sqrt{v + \epsilon}

    with v the unbiased variance.

    Shape: ``(N, C, *)`` to the same, and moments of ``(N, 1, *)``, differentiable too.

    Inverse: :func:`moment_shortcut` with the returned moments.

    Raises:
        ValueError: a single channel.

    Reference: Li, Wu, Weinberger & Belongie, *Positional normalization*, NeurIPS 2019.

    Example:
        >>> y, m = pono(torch.tensor([[[1.0], [3.0], [5.0]]]))
        >>> y.flatten().round(decimals=3), m.mean
        (tensor([-1.,  0.,  1.]), tensor([[[3.]]]))
    """
    x = _channels_second(x, 1)
    grouping, shape = grouping_of(x, "pono"), (len(x), 1, *x.shape[2:])
    y, mean, var = _with_moments(
        x, grouping, eps, False, lambda mean, std: (torch.zeros_like(mean), torch.ones_like(std))
    )
    return y, Moments(mean.view(shape), var.view(shape), grouping.values(x))


def moment_shortcut(x: Tensor, m: Moments, eps: float = 1e-5) -> Tensor:
    r"""Give features the moments that :func:`pono` took from others: :math:`y = \sigma x + \mu`.

    Shape: ``(N, C, *)`` and moments of ``(N, 1, *)``; the number of channels may differ from those normalized.

    Raises:
        ValueError: moments of other samples or positions.

    Reference: Li, Wu, Weinberger & Belongie, *Positional normalization*, NeurIPS 2019.

    Example:
        >>> x = torch.randn(2, 5, 3, 3)
        >>> torch.allclose(moment_shortcut(*pono(x)), x, atol=1e-5)
        True
    """
    if m.mean.shape != (len(x), 1, *x.shape[2:]):
        raise ValueError(
            f"features of shape {tuple(x.shape)} and moments of shape {tuple(m.mean.shape)} were given. The shortcut needs "
            f"moments of {(len(x), 1, *x.shape[2:])}. Take them at the same resolution, or resize them first."
        )
    return (x * (unbiased(m) + eps).sqrt() + m.mean).to(x.dtype)


def _channels_second(x: Tensor, channel_dim: int) -> Tensor:
    if not x.is_floating_point():
        raise TypeError(
            f"a tensor of {x.dtype} was given. Moments need floating point. Convert it, or choose another position."
        )
    if x.ndim < 2 or channel_dim % x.ndim == 0:
        raise ValueError(
            f"a tensor of shape {tuple(x.shape)} with its channels along axis {channel_dim} was given. Samples are along the "
            f"first axis, channels along another. Choose another layer, or channel_dim=-1 for tokens (N, T, C)."
        )
    return x.movedim(channel_dim, 1)


def _donors(permutation: Tensor, x: Tensor) -> Tensor:
    if permutation.dtype != torch.int64:
        raise TypeError(
            f"a permutation of {permutation.dtype} was given. It needs the int64 index of each sample's donor. "
            f"Convert it by .long()."
        )
    if permutation.shape != x.shape[:1]:
        raise ValueError(
            f"a permutation of shape {tuple(permutation.shape)} was given for {len(x)} samples. It needs one donor for each. "
            f"Draw it for this batch: torch.randperm({len(x)})."
        )
    return permutation.to(x.device)


def _of(table: Tensor, donors: Tensor) -> Tensor:
    return table.index_select(0, donors)


def _with_moments(
    x: Tensor, grouping: Grouping, eps: float, detach: bool, new: Tables
) -> tuple[Tensor, Tensor, Tensor]:
    """``x`` with new moments in place of its own; and the means and variances of its M parts, ``(N, M)``."""
    dtype, x = x.dtype, at_least_float32(x)
    z = _parts_as_channels(x, grouping.groups) if grouping.positional else x
    merged = 1 if grouping.positional else x.shape[1] // grouping.groups  # channels that make a part
    shape, count = (len(x), grouping.parts(x)), grouping.values(x)

    def rule(mean: Tensor, var: Tensor) -> tuple[Tensor, ...]:
        own = _merged(mean, var, merged) if merged > 1 else (mean.reshape(shape), var.reshape(shape))
        m_mean, m_var = (t.detach() if detach else t for t in own)
        std = (unbiased(Moments(m_mean, m_var, count)) + eps).sqrt()
        new_mean, new_std = new(m_mean, std)
        tables = around(m_mean, new_std / std, new_mean)
        spread = (t.repeat_interleave(merged, 1) if merged > 1 else t.reshape(mean.shape) for t in tables)
        return *spread, m_mean, m_var

    y, mean, var = renormalize(z, rule)
    return (_parts_as_they_were(y, x) if grouping.positional else y).to(dtype), mean, var


def _merged(mean: Tensor, var: Tensor, channels: int) -> tuple[Tensor, Tensor]:
    """Moments of groups of channels, each from those of its channels."""
    mean, var = mean.unflatten(1, (-1, channels)), var.unflatten(1, (-1, channels))
    merged = mean.mean(2)
    return merged, (var + (mean - merged.unsqueeze(2)).square()).mean(2)


def _parts_as_channels(x: Tensor, groups: int) -> Tensor:
    """``x`` as ``(R, G, S)``: rows that belong to one sample each, positional parts, their values. No copy if it is dense."""
    size, space = x.shape[1] // groups, positions(x)
    if x.is_contiguous():
        return x.reshape(len(x) * groups, size, space).transpose(1, 2)
    return x.movedim(1, -1).reshape(len(x), space * groups, size)


def _parts_as_they_were(y: Tensor, x: Tensor) -> Tensor:
    if x.is_contiguous():
        return y.transpose(1, 2).reshape(x.shape)
    return y.reshape(len(x), *x.shape[2:], x.shape[1]).movedim(-1, 1)


def _by_positive_values(x: Tensor, donors: Tensor, grouping: Grouping, eps: float, detach: bool) -> Tensor:
    z = at_least_float32(x).unflatten(1, (grouping.groups, x.shape[1] // grouping.groups))
    dims = [2] if grouping.positional else list(range(2, z.ndim))
    positive, source = z > 0, z.detach() if detach else z
    count = positive.sum(dims, keepdim=True)
    mean = torch.where(positive, source, 0).sum(dims, keepdim=True) / count.clamp(min=1)
    square = torch.where(positive, source - mean, 0).square()
    std = (square.sum(dims, keepdim=True) / count.clamp(min=1) + eps).sqrt()
    enough = (count >= 2) & (_of(count, donors) >= 2)
    scale = torch.where(enough, _of(std, donors) / std, 1)
    shift = torch.where(enough, _of(mean, donors) - mean * scale, 0)
    return (z * scale + shift).flatten(1, 2).to(x.dtype)


class Grouping(NamedTuple):
    """How many groups of channels there are, and whether each position is a part of its own."""

    groups: int
    positional: bool

    def parts(self, x: Tensor) -> int:
        """How many parts a sample has."""
        return self.groups * (positions(x) if self.positional else 1)

    def values(self, x: Tensor) -> int:
        """How many values a part of ``x`` has."""
        return x.shape[1] // max(self.groups, 1) * (1 if self.positional else positions(x))


def check_over(over: str, groups: int | None, group_size: int | None) -> None:
    """Refuse an unknown name, and groups where there are none or none where they are needed."""
    if over not in OVER:
        raise ValueError(f"over={over!r} was given. Moments are taken over one of {list(OVER)}. Choose one of them.")
    given = {k: v for k, v in (("groups", groups), ("group_size", group_size)) if v is not None}
    if over in ("gn", "gpono") and len(given) != 1:
        raise ValueError(
            f"over={over!r} was given with {given or 'neither groups nor group_size'}. It needs one of both. Pass the number "
            f"of groups, groups=2, or the channels of each, group_size=32."
        )
    if over not in ("gn", "gpono") and given:
        raise ValueError(
            f"over={over!r} was given with {given}. It has no groups of channels. Leave them out, or use 'gn' or 'gpono'."
        )
    if any(v < 1 for v in given.values()):
        raise ValueError(f"{given} was given. Groups are counted from 1. Pass a divisor of the channels.")


def grouping_of(x: Tensor, over: str, groups: int | None = None, group_size: int | None = None) -> Grouping:
    """The parts that ``x``, ``(N, C, *)``, is divided into; refused where a part has one value."""
    channels = x.shape[1]
    if channels % (group_size or groups or 1):
        raise ValueError(
            f"{channels} channels cannot be divided by {group_size or groups} (over={over!r}). Groups need equal sizes. "
            f"Pass a divisor of {channels}."
        )
    number = channels // group_size if group_size else groups or (channels if over == "in" else 1)
    grouping = Grouping(number, over in ("pono", "gpono"))
    if x.numel() and grouping.values(x) < 2:
        raise ValueError(
            f"over={over!r} over a tensor of shape {tuple(x.shape)} gives parts of 1 value, whose variance is undefined. "
            f"It needs at least 2 values. " + _remedy(over)
        )
    return grouping


def _remedy(over: str) -> str:
    if over == "pono":
        return "Use over='in', or a layer with more channels."
    if over == "in":
        return "Use over='pono', or a layer with more positions."
    return "Use larger groups, or over='ln'." if over in ("gn", "gpono") else "Choose another layer."
