"""PyramidNets for small images."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from renorm.models.resnet import initialize

STEM = 16  # channels
EXPANSION = 4  # of a bottleneck's last convolution


class PyramidBlock(nn.Module):
    """Convolutions with a norm before the first and after each, ReLU between them, and a shortcut without parameters.

    Where the stride is 2 the shortcut is a 2x2 mean; where channels are added, they are zeros at the end.
    """

    def __init__(self, in_channels: int, channels: int, stride: int, bottleneck: bool) -> None:
        super().__init__()
        out_channels = channels * (EXPANSION if bottleneck else 1)
        sizes = [(in_channels, channels, 1, 1), (channels, channels, 3, stride), (channels, out_channels, 1, 1)]
        if not bottleneck:
            sizes = [(in_channels, channels, 3, stride), (channels, channels, 3, 1)]
        self.bn = nn.BatchNorm2d(in_channels)
        self.convs = nn.ModuleList(
            nn.Conv2d(before, after, kernel, step, padding=kernel // 2, bias=False)
            for before, after, kernel, step in sizes
        )
        self.bns = nn.ModuleList(nn.BatchNorm2d(after) for _, after, _, _ in sizes)
        self.stride, self.added = stride, out_channels - in_channels

    def forward(self, x: Tensor) -> Tensor:
        y = self.bn(x)
        for i, (conv, bn) in enumerate(zip(self.convs, self.bns, strict=True)):
            y = bn(conv(F.relu(y) if i else y))
        return y + self.shortcut(x)

    def shortcut(self, x: Tensor) -> Tensor:
        if self.stride != 1:
            x = F.avg_pool2d(x, self.stride, ceil_mode=True)
        return F.pad(x, (0, 0, 0, 0, 0, self.added)) if self.added else x


class PyramidNet(nn.Module):
    r"""Additive PyramidNet: three stages of n blocks whose channels grow a little with every block.

    Block k of N has :math:`16 + k \alpha / N` channels, rounded.

    Shape:
        ``(N, in_channels, H, W) -> (N, num_classes)`` for any H and W; the published one sees 32 x 32.

    Args:
        depth: 110 or another 6n + 2; with bottlenecks 164, 200, 272 or another 9n + 2.
        alpha: channels that all blocks together add.
        num_classes: number of outputs.
        bottleneck: whether a block has a 1x1, a 3x3 and a 1x1 convolution with four times the channels, rather than two
            3x3 ones.
        in_channels: channels of the input.

    Raises:
        ValueError: the depth is none of these, or alpha is negative.

    Reference: Han, Kim & Kim, *Deep Pyramidal Residual Networks*, CVPR 2017.

    Example:
        >>> import torch
        >>> PyramidNet(8, 12, num_classes=5)(torch.zeros(2, 3, 16, 16)).shape
        torch.Size([2, 5])
    """

    def __init__(
        self, depth: int, alpha: int, num_classes: int = 10, *, bottleneck: bool = False, in_channels: int = 3
    ) -> None:
        super().__init__()
        per_block = 9 if bottleneck else 6
        if depth < per_block + 2 or (depth - 2) % per_block or alpha < 0:
            nearest = per_block * max(1, round((depth - 2) / per_block)) + 2
            raise ValueError(
                f"a depth of {depth} with alpha {alpha}: a PyramidNet of {'bottlenecks' if bottleneck else 'basic blocks'} "
                f"needs a depth of {per_block}n + 2 and an alpha of at least 0. "
                f"Use pyramidnet-{nearest}-{max(0, alpha)}{'-bottleneck' if bottleneck else ''}."
            )
        n = (depth - 2) // per_block
        self.conv1 = nn.Conv2d(in_channels, STEM, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(STEM)
        blocks, before = [], STEM
        for k in range(3 * n):
            channels = round(STEM + (k + 1) * alpha / (3 * n))
            blocks.append(PyramidBlock(before, channels, 2 if k in (n, 2 * n) else 1, bottleneck))
            before = channels * (EXPANSION if bottleneck else 1)
        self.layer1, self.layer2, self.layer3 = (nn.Sequential(*blocks[i * n : (i + 1) * n]) for i in range(3))
        self.bn = nn.BatchNorm2d(before)
        self.linear = nn.Linear(before, num_classes)
        initialize(self)

    def forward(self, x: Tensor) -> Tensor:
        x = self.bn1(self.conv1(x))
        x = self.layer3(self.layer2(self.layer1(x)))
        return self.linear(F.relu(self.bn(x)).mean((2, 3)))
