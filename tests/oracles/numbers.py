"""The deterministic inputs and parameters that published and reference numbers were computed on."""

import torch
from torch import Tensor


def fill(tensor: Tensor, a: float, b: float) -> Tensor:
    """A tensor of that shape and dtype whose value at flat index m is ``a + b sin(m)``."""
    index = torch.arange(tensor.numel(), dtype=torch.float64)
    return (a + b * torch.sin(index)).view(tensor.shape).to(tensor.dtype)


def inp(b: int, c: int, h: int, w: int, k: float) -> Tensor:
    """``sin(0.7 n + k) + 0.5 cos(0.13 n^2 / (1 + n) + b) + 0.2 c - 0.3 b`` at flat index n, in float32."""
    n = torch.arange(b * c * h * w, dtype=torch.float64).view(b, c, h, w)
    batch = torch.arange(b, dtype=torch.float64).view(b, 1, 1, 1)
    channel = torch.arange(c, dtype=torch.float64).view(1, c, 1, 1)
    x = torch.sin(0.7 * n + k) + 0.5 * torch.cos(0.13 * n**2 / (1 + n) + batch) + 0.2 * channel - 0.3 * batch
    return x.float()


def summary(y: Tensor) -> list[float]:
    """Sum, sum weighted by ``cos(0.31 m)``, first and last value."""
    flat = y.detach().double().flatten()
    weights = torch.cos(0.31 * torch.arange(len(flat), dtype=torch.float64))
    return [float(v) for v in (flat.sum(), (flat * weights).sum(), flat[0], flat[-1])]
