"""Sets of features for the measures that compare two of them."""

import torch
from torch import Tensor, nn


def features(b: int, c: int, k: float) -> Tensor:
    """``sin(0.7 n + k) + 0.5 cos(0.13 n^2 / (1 + n) + b) + 0.2 c - 0.003 b`` at flat index n, in float64."""
    n = torch.arange(b * c, dtype=torch.float64).view(b, c)
    row = torch.arange(b, dtype=torch.float64).view(b, 1)
    column = torch.arange(c, dtype=torch.float64)
    return torch.sin(0.7 * n + k) + 0.5 * torch.cos(0.13 * n**2 / (1 + n) + row) + 0.2 * column - 0.003 * row


A = features(60, 4, 0)
B = 1.3 * features(40, 4, 1.1) + 0.4


def drawn(n: int, d: int, seed: int) -> Tensor:
    """Standard normal features."""
    return torch.randn(n, d, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


class Given(nn.Module):
    """A feature network whose images are features already."""

    def __init__(self, num_features: int) -> None:
        super().__init__()
        self.num_features = num_features

    def forward(self, x: Tensor) -> Tensor:
        return x
