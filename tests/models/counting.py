"""Numbers of parameters by arithmetic, from what a paper's text says of a network."""

from __future__ import annotations

from torch import nn


def conv(before: int, after: int, kernel: int, groups: int = 1) -> int:
    """A convolution without bias."""
    return before // groups * after * kernel * kernel


def norm(channels: int) -> int:
    return 2 * channels


def linear(before: int, after: int) -> int:
    return (before + 1) * after


def parameters(model: nn.Module) -> int:
    return sum(p.numel() for p in model.parameters())
