"""ResNets for small images."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn


class BasicBlock(nn.Module):
    """Two 3x3 convolutions and a shortcut without parameters (He et al., option A).

    Where the shape changes, the shortcut takes every second pixel and adds channels of zeros, half on either side.
    """

    def __init__(self, in_channels: int, channels: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, channels, 3, stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels)
        self.stride = stride
        self.added = channels - in_channels

    def forward(self, x: Tensor) -> Tensor:
        y = F.relu(self.bn1(self.conv1(x)))
        return F.relu(self.bn2(self.conv2(y)) + self.shortcut(x))

    def shortcut(self, x: Tensor) -> Tensor:
        if self.stride == 1 and self.added == 0:
            return x
        before = self.added // 2
        return F.pad(x[:, :, :: self.stride, :: self.stride], (0, 0, 0, 0, before, self.added - before))


class ResNet(nn.Module):
    """ResNet of depth 6n + 2: a 3x3 stem of 16 channels and three stages of n blocks with 16, 32 and 64 channels.

    Shape:
        ``(N, in_channels, H, W) -> (N, num_classes)`` for any H and W; the published one sees 32 x 32.

    Args:
        depth: 20, 32, 44, 56, 110 or another 6n + 2.
        num_classes: number of outputs.
        in_channels: channels of the input.

    Raises:
        ValueError: depth is not 6n + 2.

    Reference: He et al., *Deep Residual Learning for Image Recognition*, CVPR 2016, section 4.2.

    Example:
        >>> import torch
        >>> ResNet(8, num_classes=5)(torch.zeros(2, 3, 16, 16)).shape
        torch.Size([2, 5])
    """

    def __init__(self, depth: int, num_classes: int = 10, *, in_channels: int = 3) -> None:
        super().__init__()
        if depth < 8 or (depth - 2) % 6:
            raise ValueError(
                f"a depth of {depth} is not 6n + 2, as a ResNet of three stages needs. "
                f"Use {nearest_depth(depth)}, or an ImageNet ResNet by name: 'torchvision:resnet18', 'timm:resnet18'."
            )
        blocks = (depth - 2) // 6
        self.conv1 = nn.Conv2d(in_channels, 16, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(16)
        self.layer1 = stage(16, 16, blocks, stride=1)
        self.layer2 = stage(16, 32, blocks, stride=2)
        self.layer3 = stage(32, 64, blocks, stride=2)
        self.linear = nn.Linear(64, num_classes)
        initialize(self)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.bn1(self.conv1(x)))
        x = self.layer3(self.layer2(self.layer1(x)))
        return self.linear(x.mean((2, 3)))


def stage(in_channels: int, channels: int, blocks: int, stride: int) -> nn.Sequential:
    first = BasicBlock(in_channels, channels, stride)
    return nn.Sequential(first, *(BasicBlock(channels, channels, 1) for _ in range(blocks - 1)))


def nearest_depth(depth: int) -> int:
    return 6 * max(1, round((depth - 2) / 6)) + 2


def initialize(model: nn.Module) -> None:
    """He initialization of convolutions, zero biases of linear layers.

    Reference: He et al., *Delving Deep into Rectifiers*, ICCV 2015.
    """
    for module in model.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
        elif isinstance(module, nn.Linear):
            nn.init.zeros_(module.bias)
