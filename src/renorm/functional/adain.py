"""Giving features the moments of other features, with an affine between that all share."""

from __future__ import annotations

import torch
from torch import Tensor

from renorm.functional.moments import Moments, instance_moments, linked_moments, positions, unbiased
from renorm.functional.norm import affine_pass


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
    mean, var, link = linked_moments(content)
    own = unbiased(Moments(mean, var, positions(content)))
    target = instance_moments(style)
    std = (unbiased(target) + eps).sqrt().to(mean.dtype)
    scale, offset = std * (own + eps).rsqrt(), target.mean.to(mean.dtype)
    if weight is not None:
        scale = scale * weight.to(mean.dtype)
    if bias is not None:
        offset = torch.addcmul(offset, std, bias.to(mean.dtype))
    center = mean.detach()
    return affine_pass(content, scale, offset + (center - mean) * scale, center, link)


def _check(content: Tensor, style: Tensor) -> None:
    fits = style.ndim > 1 and style.shape[1] == content.shape[1] and len(style) in (1, len(content))
    if not fits or min(positions(content), positions(style)) < 2:
        raise ValueError(
            f"content of shape {tuple(content.shape)} and style of shape {tuple(style.shape)} were given. Both need as many "
            f"channels, as many samples (or one style for all) and at least two positions. Use an earlier layer's features."
        )
