"""ResNeXts for small images."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from renorm.models.resnet import initialize

CHANNELS = (64, 256, 512, 1024)  # of the stem and the stages


class GroupedBlock(nn.Module):
    """1x1, grouped 3x3 and 1x1 convolutions, each with a norm; the shortcut is a 1x1 one where the shape changes."""

    def __init__(self, in_channels: int, width: int, channels: int, groups: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, width, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, stride, padding=1, groups=groups, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.conv3 = nn.Conv2d(width, channels, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(channels)
        self.shortcut = nn.Sequential()
        if in_channels != channels or stride != 1:
            convolution = nn.Conv2d(in_channels, channels, 1, stride, bias=False)
            self.shortcut = nn.Sequential(convolution, nn.BatchNorm2d(channels))

    def forward(self, x: Tensor) -> Tensor:
        y = F.relu(self.bn1(self.conv1(x)))
        y = F.relu(self.bn2(self.conv2(y)))
        return F.relu(self.bn3(self.conv3(y)) + self.shortcut(x))


class ResNeXt(nn.Module):
    """ResNeXt of depth 9n + 2: three stages of n blocks with 256, 512 and 1024 channels, grouped convolutions inside.

    Shape:
        ``(N, in_channels, H, W) -> (N, num_classes)`` for any H and W; the published one sees 32 x 32.

    Args:
        depth: 29 or another 9n + 2.
        cardinality: number of groups.
        width: channels of each group in the first stage; doubled in the second and again in the third.
        num_classes: number of outputs.
        in_channels: channels of the input.

    Raises:
        ValueError: depth is not 9n + 2, or cardinality or width is not positive.

    Reference: Xie et al., *Aggregated Residual Transformations for Deep Neural Networks*, CVPR 2017.

    Example:
        >>> import torch
        >>> ResNeXt(11, 2, 8, num_classes=5)(torch.zeros(2, 3, 16, 16)).shape
        torch.Size([2, 5])
    """

    def __init__(
        self, depth: int, cardinality: int, width: int, num_classes: int = 10, *, in_channels: int = 3
    ) -> None:
        super().__init__()
        if depth < 11 or (depth - 2) % 9 or cardinality < 1 or width < 1:
            nearest = 9 * max(1, round((depth - 2) / 9)) + 2
            raise ValueError(
                f"a depth of {depth} with {cardinality} groups of {width}: a ResNeXt of three stages needs a depth of "
                f"9n + 2 and groups and widths of at least 1. Use resnext{nearest}-{max(1, cardinality)}x{max(1, width)}d."
            )
        blocks, inner = (depth - 2) // 9, cardinality * width
        self.conv1 = nn.Conv2d(in_channels, CHANNELS[0], 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(CHANNELS[0])
        self.layer1 = stage(CHANNELS[0], inner, CHANNELS[1], cardinality, blocks, stride=1)
        self.layer2 = stage(CHANNELS[1], 2 * inner, CHANNELS[2], cardinality, blocks, stride=2)
        self.layer3 = stage(CHANNELS[2], 4 * inner, CHANNELS[3], cardinality, blocks, stride=2)
        self.linear = nn.Linear(CHANNELS[3], num_classes)
        initialize(self)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.bn1(self.conv1(x)))
        x = self.layer3(self.layer2(self.layer1(x)))
        return self.linear(x.mean((2, 3)))


def stage(in_channels: int, width: int, channels: int, groups: int, blocks: int, stride: int) -> nn.Sequential:
    first = GroupedBlock(in_channels, width, channels, groups, stride)
    return nn.Sequential(first, *(GroupedBlock(channels, width, channels, groups, 1) for _ in range(blocks - 1)))
