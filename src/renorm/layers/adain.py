"""Adaptive instance normalization, and the sandwich of it."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from renorm import functional


class AdaIN(nn.Module):
    """:func:`renorm.functional.adain` as a layer without parameters: the content with the moments of the style.

    Example:
        >>> layer = renorm.layers.AdaIN()
        >>> layer(torch.randn(2, 4, 8, 8), torch.randn(2, 4, 6, 6)).shape
        torch.Size([2, 4, 8, 8])
    """

    def __init__(self, eps: float = 1e-5) -> None:
        super().__init__()
        self.eps = eps

    def forward(self, content: Tensor, style: Tensor) -> Tensor:
        return functional.adain(content, style, eps=self.eps)

    def extra_repr(self) -> str:
        return f"eps={self.eps}"


class SandwichAdaIN(nn.Module):
    """:func:`renorm.functional.adain` with an affine between that all styles share; it starts as the identity.

    The moments of the style are the second affine of the sandwich.

    Args:
        num_features: C.

    Reference: Gong, Chen, Chen & Wang, *Sandwich batch normalization*, WACV 2022.

    Example:
        >>> layer = renorm.layers.SandwichAdaIN(4)
        >>> layer(torch.randn(2, 4, 8, 8), torch.randn(2, 4, 6, 6)).shape
        torch.Size([2, 4, 8, 8])
    """

    def __init__(
        self,
        num_features: int,
        eps: float = 1e-5,
        *,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        made: Any = {"device": device, "dtype": dtype}
        self.num_features, self.eps = num_features, eps
        self.weight = nn.Parameter(torch.ones(num_features, **made))
        self.bias = nn.Parameter(torch.zeros(num_features, **made))

    def forward(self, content: Tensor, style: Tensor) -> Tensor:
        if content.ndim < 2 or content.shape[1] != self.num_features:
            raise ValueError(
                f"content of shape {tuple(content.shape)} was given. This layer needs (N, {self.num_features}, ...). "
                f"Check the layer before it."
            )
        return functional.adain(content, style, self.weight, self.bias, self.eps)

    def extra_repr(self) -> str:
        return f"{self.num_features}, eps={self.eps}"
