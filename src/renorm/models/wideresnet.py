"""Wide ResNets for small images."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from renorm.models.resnet import initialize


class PreActivationBlock(nn.Module):
    """Norm, ReLU, 3x3 convolution, twice; the shortcut is a 1x1 convolution where the shape changes."""

    def __init__(self, in_channels: int, channels: int, stride: int, dropout: float) -> None:
        super().__init__()
        self.bn1 = nn.BatchNorm2d(in_channels)
        self.conv1 = nn.Conv2d(in_channels, channels, 3, stride, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels)
        self.dropout = nn.Dropout(dropout)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        changes = stride != 1 or in_channels != channels
        self.shortcut = nn.Conv2d(in_channels, channels, 1, stride, bias=False) if changes else None

    def forward(self, x: Tensor) -> Tensor:
        y = F.relu(self.bn1(x))
        identity = x if self.shortcut is None else self.shortcut(y)
        y = self.conv2(self.dropout(F.relu(self.bn2(self.conv1(y)))))
        return y + identity


class WideResNet(nn.Module):
    """WRN-d-k: pre-activation ResNet of depth 6n + 4 with 16k, 32k and 64k channels.

    Shape:
        ``(N, in_channels, H, W) -> (N, num_classes)`` for any H and W; the published one sees 32 x 32.

    Args:
        depth: 16, 28, 40 or another 6n + 4.
        width: the factor k.
        num_classes: number of outputs.
        dropout: probability of dropping a value between a block's convolutions.
        in_channels: channels of the input.

    Raises:
        ValueError: depth is not 6n + 4.

    Reference: Zagoruyko & Komodakis, *Wide Residual Networks*, BMVC 2016.

    Example:
        >>> import torch
        >>> WideResNet(10, 1, num_classes=5)(torch.zeros(2, 3, 16, 16)).shape
        torch.Size([2, 5])
    """

    def __init__(
        self, depth: int, width: int, num_classes: int = 10, *, dropout: float = 0.0, in_channels: int = 3
    ) -> None:
        super().__init__()
        if depth < 10 or (depth - 4) % 6:
            nearest = 6 * max(1, round((depth - 4) / 6)) + 4
            raise ValueError(f"a depth of {depth} is not 6n + 4, as a wide ResNet needs. Use wrn-{nearest}-{width}.")
        channels = [16, 16 * width, 32 * width, 64 * width]
        blocks = (depth - 4) // 6
        self.conv1 = nn.Conv2d(in_channels, channels[0], 3, padding=1, bias=False)
        self.layer1 = stage(channels[0], channels[1], blocks, 1, dropout)
        self.layer2 = stage(channels[1], channels[2], blocks, 2, dropout)
        self.layer3 = stage(channels[2], channels[3], blocks, 2, dropout)
        self.bn = nn.BatchNorm2d(channels[3])
        self.linear = nn.Linear(channels[3], num_classes)
        initialize(self)

    def forward(self, x: Tensor) -> Tensor:
        x = self.layer3(self.layer2(self.layer1(self.conv1(x))))
        return self.linear(F.relu(self.bn(x)).mean((2, 3)))


def stage(in_channels: int, channels: int, blocks: int, stride: int, dropout: float) -> nn.Sequential:
    first = PreActivationBlock(in_channels, channels, stride, dropout)
    return nn.Sequential(first, *(PreActivationBlock(channels, channels, 1, dropout) for _ in range(blocks - 1)))
