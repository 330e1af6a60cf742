"""Two affines after each other as one, and back."""

from __future__ import annotations

import torch
from torch import Tensor

Affine = tuple[Tensor | None, Tensor | None]


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


def _sum(a: Tensor | None, b: Tensor | None) -> Tensor | None:
    return b if a is None else a if b is None else a + b
