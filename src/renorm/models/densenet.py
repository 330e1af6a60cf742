"""DenseNets for small images."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from renorm.models.resnet import initialize

BOTTLENECK = 4  # channels between a layer's convolutions, in units of the growth
COMPRESSION = 0.5  # share of the channels that a transition keeps


class DenseLayer(nn.Module):
    """Norm, ReLU, 1x1 convolution, norm, ReLU, 3x3 convolution; the result is added to the input's channels."""

    def __init__(self, in_channels: int, growth: int, dropout: float) -> None:
        super().__init__()
        self.bn1 = nn.BatchNorm2d(in_channels)
        self.conv1 = nn.Conv2d(in_channels, BOTTLENECK * growth, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(BOTTLENECK * growth)
        self.conv2 = nn.Conv2d(BOTTLENECK * growth, growth, 3, padding=1, bias=False)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        y = self.dropout(self.conv1(F.relu(self.bn1(x))))
        y = self.dropout(self.conv2(F.relu(self.bn2(y))))
        return torch.cat([x, y], 1)


class Transition(nn.Module):
    """Norm, ReLU, 1x1 convolution to half of the channels, 2x2 mean; of odd sides the last row has its own."""

    def __init__(self, in_channels: int, channels: int, dropout: float) -> None:
        super().__init__()
        self.bn = nn.BatchNorm2d(in_channels)
        self.conv = nn.Conv2d(in_channels, channels, 1, bias=False)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        return F.avg_pool2d(self.dropout(self.conv(F.relu(self.bn(x)))), 2, ceil_mode=True)


class DenseNet(nn.Module):
    """DenseNet-BC of depth 6n + 4: three blocks of n layers, each of which sees the outputs of all before it.

    Shape:
        ``(N, in_channels, H, W) -> (N, num_classes)`` for any H and W; the published one sees 32 x 32.

    Args:
        depth: 100, 190, 250 or another 6n + 4.
        growth: channels that each layer adds; the stem has twice as many.
        num_classes: number of outputs.
        dropout: probability of dropping a value after each convolution but the first.
        in_channels: channels of the input.

    Raises:
        ValueError: depth is not 6n + 4, or growth is not positive.

    Reference: Huang et al., *Densely Connected Convolutional Networks*, CVPR 2017.

    Example:
        >>> import torch
        >>> DenseNet(10, 4, num_classes=5)(torch.zeros(2, 3, 16, 16)).shape
        torch.Size([2, 5])
    """

    def __init__(
        self, depth: int, growth: int, num_classes: int = 10, *, dropout: float = 0.0, in_channels: int = 3
    ) -> None:
        super().__init__()
        if depth < 10 or (depth - 4) % 6 or growth < 1:
            nearest = 6 * max(1, round((depth - 4) / 6)) + 4
            raise ValueError(
                f"a depth of {depth} with a growth of {growth}: a DenseNet-BC of three blocks needs a depth of 6n + 4 and "
                f"a growth of at least 1. Use densenet-bc-{nearest}-{max(1, growth)}."
            )
        layers, channels = (depth - 4) // 6, 2 * growth
        self.conv1 = nn.Conv2d(in_channels, channels, 3, padding=1, bias=False)
        parts: list[nn.Module] = []
        for last in (False, False, True):
            parts += [DenseLayer(channels + i * growth, growth, dropout) for i in range(layers)]
            channels += layers * growth
            if not last:
                parts.append(Transition(channels, int(COMPRESSION * channels), dropout))
                channels = int(COMPRESSION * channels)
        self.features = nn.Sequential(*parts)
        self.bn = nn.BatchNorm2d(channels)
        self.linear = nn.Linear(channels, num_classes)
        initialize(self)

    def forward(self, x: Tensor) -> Tensor:
        x = self.features(self.conv1(x))
        return self.linear(F.relu(self.bn(x)).mean((2, 3)))
