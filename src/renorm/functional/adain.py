"""Giving features the moments of other features, with an affine between that all share."""

from __future__ import annotations

import torch
from torch import Tensor

from renorm.functional.moments import Moments, instance_moments, positions, unbiased
from renorm.functional.passes import around, renormalize


def adain(
    content: Tensor, style: Tensor, weight: Tensor | None = None, bias: Tensor | None = None, eps: float = 1e-5
) -> Tensor:
    r"""Adaptive instance normalization: the content with the means and deviations of the style.

    .. math:: t = \sigma(s) \left(\gamma \frac{c - \mu(c)}{\sigma(c)} + \beta\right) + \mu(s),
        \qquad \sigma = \sqrt{\sigma^2_{unbiased} + \epsilon}

    per sample and channel; without ``weight`` and ``bias``, :math:`\gamma = 1` and :math:`\beta = 0`.

    Shape: content ``(N, C, *)``, kept; style ``(N, C, *)`` or ``(1, C, *)``, of any size; weight and bias ``(C,)``.

    Reduces to: the content, where the style is the content.

    Raises:
        ValueError: other samples or channels, fewer than two positions.

    Reference: Huang & Belongie, *Arbitrary style transfer in real-time with adaptive instance normalization*, ICCV 2017; with
    weight and bias Gong et al., *Sandwich batch normalization*, WACV 2022.

    Example:
        >>> content, style = torch.tensor([[[1.0, 2.0]]]), torch.tensor([[[0.0, 4.0]]])
        >>> adain(content, style).round(decimals=2)
        tensor([[[0., 4.]]])
    """
    _check(content, style)
    target, count = instance_moments(style), positions(content)
    std = (unbiased(target) + eps).sqrt()

    def rule(
        mean: Tensor, var: Tensor, offset: Tensor, std: Tensor, weight: Tensor | None, bias: Tensor | None
    ) -> tuple[Tensor, ...]:
        offset, std = offset.to(mean.dtype), std.to(mean.dtype)
        scale = std * (unbiased(Moments(mean, var, count)) + eps).rsqrt()
        scale = scale if weight is None else scale * weight.to(mean.dtype)
        return around(mean, scale, offset if bias is None else torch.addcmul(offset, std, bias.to(mean.dtype)))

    return renormalize(content, rule, target.mean, std, weight, bias)[0]


def _check(content: Tensor, style: Tensor) -> None:
    fits = style.ndim > 1 and style.shape[1] == content.shape[1] and len(style) in (1, len(content))
    if not fits or min(positions(content), positions(style)) < 2:
        raise ValueError(
            f"content of shape {tuple(content.shape)} and style of shape {tuple(style.shape)} were given. Both need as many "
            f"channels, as many samples (or one style for all) and at least two positions. Use an earlier layer's features."
        )
