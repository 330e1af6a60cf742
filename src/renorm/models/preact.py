"""Pre-activation ResNets of four stages for small images."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from renorm.models.resnet import initialize
from renorm.models.wideresnet import stage

BLOCKS = {18: (2, 2, 2, 2), 34: (3, 4, 6, 3)}


class PreActResNet(nn.Module):
    """Pre-activation ResNet of depth 18 or 34: a 3x3 stem, four stages of 64 to 512 channels, a last norm and ReLU.

    Every norm and ReLU stands before its convolution, and those of a stage's first block before its 1x1 shortcut too.

    Shape:
        ``(N, in_channels, H, W) -> (N, num_classes)`` for any H and W; adversarial training on CIFAR sees 32 x 32.

    Args:
        depth: 18 or 34.
        num_classes: number of outputs.
        in_channels: channels of the input.

    Raises:
        ValueError: another depth.

    Reference: He et al., *Identity Mappings in Deep Residual Networks*, ECCV 2016, with the stages of their ResNet-18.

    Example:
        >>> import torch
        >>> PreActResNet(18, num_classes=5)(torch.zeros(2, 3, 16, 16)).shape
        torch.Size([2, 5])
    """

    def __init__(self, depth: int, num_classes: int = 10, *, in_channels: int = 3) -> None:
        super().__init__()
        if depth not in BLOCKS:
            raise ValueError(
                f"a depth of {depth} is none of a pre-activation ResNet with blocks of two convolutions: 18 or 34 is "
                "needed. Use preact-resnet18 or preact-resnet34, or a deeper one of timm: 'timm:resnetv2_50'."
            )
        first, second, third, fourth = BLOCKS[depth]
        self.conv1 = nn.Conv2d(in_channels, 64, 3, padding=1, bias=False)
        self.layer1 = stage(64, 64, first, stride=1, dropout=0.0)
        self.layer2 = stage(64, 128, second, stride=2, dropout=0.0)
        self.layer3 = stage(128, 256, third, stride=2, dropout=0.0)
        self.layer4 = stage(256, 512, fourth, stride=2, dropout=0.0)
        self.bn = nn.BatchNorm2d(512)
        self.linear = nn.Linear(512, num_classes)
        initialize(self)

    def forward(self, x: Tensor) -> Tensor:
        x = self.layer2(self.layer1(self.conv1(x)))
        x = self.layer4(self.layer3(x))
        return self.linear(F.relu(self.bn(x)).mean((2, 3)))
