"""The networks of NAS-Bench-201: a stem, three stages of equal cells with a reduction between them, and a linear layer."""

from __future__ import annotations

from abc import ABC
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from renorm.models.cell import CONVOLUTIONS, EDGES, Cell

KERNELS = {"nor_conv_1x1": 1, "nor_conv_3x3": 3}  # sides of the convolutions, by operation


def pooled(x: Tensor) -> Tensor:
    """The mean of each pixel's neighbourhood; at the border of the pixels that are there."""
    return F.avg_pool2d(x, 3, stride=1, padding=1, count_include_pad=False)


def convolution(channels: int, operation: str) -> nn.Conv2d:
    """The convolution of an operation, which keeps the size and the number of channels."""
    side = KERNELS[operation]
    return nn.Conv2d(channels, channels, side, padding=side // 2, bias=False)


class Stages(nn.Module, ABC):
    """What all networks of the benchmark have around their cells.

    Args:
        cell: makes a cell of so many channels.
        num_classes: number of outputs.
        width: channels C of the first stage; the others have 2C and 4C.
        cells: how many cells each stage has.
        in_channels: channels of the input.
    """

    def __init__(
        self, cell: Callable[[int], nn.Module], num_classes: int, width: int, cells: int, in_channels: int
    ) -> None:
        super().__init__()
        if min(num_classes, width, cells, in_channels) < 1:
            raise ValueError(
                f"num_classes={num_classes}, width={width}, cells={cells} and in_channels={in_channels} were given. Each has to "
                f"be at least 1. The benchmark has width=16 and cells=5."
            )
        self.stem = nn.Sequential(nn.Conv2d(in_channels, width, 3, padding=1, bias=False), nn.BatchNorm2d(width))
        stages: list[nn.Module] = []
        for channels in (width, 2 * width, 4 * width):
            stages += [Reduction(channels // 2)] if stages else []
            stages += [cell(channels) for _ in range(cells)]
        self.stages = nn.ModuleList(stages)
        self.last = nn.BatchNorm2d(4 * width)
        self.linear = nn.Linear(4 * width, num_classes)

    def classified(self, x: Tensor, cell: Callable[[nn.Module, Tensor], Tensor]) -> Tensor:
        """Logits, each cell called by a function."""
        if x.ndim == 4 and (x.shape[2] % 4 or x.shape[3] % 4):
            raise ValueError(
                f"images of {x.shape[2]} x {x.shape[3]} pixels were given. Both sides are halved twice, in two ways that "
                f"agree for multiples of 4 only. Resize or pad them."
            )
        x = self.stem(x)
        for module in self.stages:
            x = module(x) if isinstance(module, Reduction) else cell(module, x)
        return self.linear(F.relu(self.last(x)).mean((2, 3)))


class Reduction(nn.Module):
    """Half the size and twice the channels: two convolutions, beside a mean and a 1x1 convolution."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, 2 * channels, 3, stride=2, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(2 * channels)
        self.conv2 = nn.Conv2d(2 * channels, 2 * channels, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(2 * channels)
        self.shortcut = nn.Conv2d(channels, 2 * channels, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        y = self.bn1(self.conv1(F.relu(x)))
        return self.bn2(self.conv2(F.relu(y))) + self.shortcut(F.avg_pool2d(x, 2))


class PlainCell(nn.Module):
    """One operation on each edge, its convolutions and norms by the numbers of their edges."""

    def __init__(self, cell: Cell, channels: int) -> None:
        super().__init__()
        self.cell = cell
        used = {str(edge): name for edge, name in enumerate(cell.operations) if name in CONVOLUTIONS}
        self.convs = nn.ModuleDict({edge: convolution(channels, name) for edge, name in used.items()})
        self.norms = nn.ModuleDict({edge: nn.BatchNorm2d(channels) for edge in used})

    def forward(self, x: Tensor) -> Tensor:
        return along(self.cell, x, lambda edge, z: self.norms[str(edge)](self.convs[str(edge)](z)))

    def extra_repr(self) -> str:
        return str(self.cell)


def along(cell: Cell, x: Tensor, convolved: Callable[[int, Tensor], Tensor]) -> Tensor:
    """The output of a cell.

    Args:
        convolved: the convolution of an edge and its norm, applied to what went through a ReLU.
    """
    nodes: list[Any] = [x, 0, 0, 0]
    for edge, (operation, (end, start)) in enumerate(zip(cell.operations, EDGES, strict=True)):
        if operation == "none":  # left out, as inf * 0 is NaN
            continue
        given = nodes[start] if isinstance(nodes[start], Tensor) else torch.zeros_like(x)
        if operation in CONVOLUTIONS:
            given = convolved(edge, F.relu(given))  # of zeros the norm's bias, as in the benchmark
        elif operation == "avg_pool_3x3":
            given = pooled(given)
        nodes[end] = nodes[end] + given
    return nodes[3] if isinstance(nodes[3], Tensor) else torch.zeros_like(x)


class CellNetwork(Stages):
    """The network of one cell, as the benchmark trains it: all norms affine, with running statistics.

    Shape: ``(N, in_channels, H, W) -> (N, num_classes)``, H and W multiples of 4; the published one sees 32 x 32.

    Args:
        cell: what every stage repeats, or its string.
        num_classes, width, cells, in_channels: outputs, channels of the first stage, cells of each stage, channels of images.

    Raises:
        ValueError: it is no cell; a size below 1; in a forward, sides that are no multiples of 4.

    Reference: Dong & Yang, *NAS-Bench-201*, ICLR 2020.

    Example:
        >>> network = CellNetwork("|nor_conv_3x3~0|+|none~0|skip_connect~1|+|skip_connect~0|none~1|avg_pool_3x3~2|", width=4)
        >>> network(torch.zeros(2, 3, 8, 8)).shape
        torch.Size([2, 10])
    """

    def __init__(
        self, cell: Cell | str, num_classes: int = 10, *, width: int = 16, cells: int = 5, in_channels: int = 3
    ) -> None:
        cell = Cell.parse(cell) if isinstance(cell, str) else cell
        super().__init__(lambda channels: PlainCell(cell, channels), num_classes, width, cells, in_channels)
        self.cell = cell

    def forward(self, x: Tensor) -> Tensor:
        return self.classified(x, lambda module, z: module(z))
