"""Discriminators that look at a picture and its class: a score of the features, and their product with what the class is.

Reference: Miyato & Koyama, *cGANs with Projection Discriminator*, ICLR 2018; Miyato et al., *Spectral Normalization for
Generative Adversarial Networks*, ICLR 2018.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from renorm.models.generator import NAMES
from renorm.models.spectral import spectral

# Of each block: what it takes and gives, in widths (0 is the picture), and whether it halves the size.
BLOCKS = {
    32: ((0, 1, True), (1, 1, True), (1, 1, False), (1, 1, False)),
    128: ((0, 1, True), (1, 2, True), (2, 4, True), (4, 8, True), (8, 8, True), (8, 8, False)),
}
CHANNELS = {"sngan": {32: 128, 128: 64}, "autogan": {32: 128}, "biggan": {32: 256}}


class Discriminator(nn.Module):
    r"""Hinge scores of pictures and their classes; every weight is spectrally normalized, and no norm has statistics.

    .. math:: D(x, y) = l^\top f(x) + \langle e_y, f(x) \rangle

    with f the sum over positions of the last features.

    Shape: pictures ``(N, 3, H, W)`` in -1..1 and labels ``(N,)`` int64 to scores ``(N,)``.
    """

    def __init__(self, size: int, width: int, num_classes: int, *, wide: bool) -> None:
        super().__init__()
        blocks = BLOCKS[max(32, size)]
        self.blocks = nn.ModuleList(
            Block(3 if not a else a * width, b * width, down, not a, wide) for a, b, down in blocks
        )
        features = blocks[-1][1] * width
        self.linear, self.classes = nn.Linear(features, 1, bias=wide), nn.Embedding(num_classes, features)
        for module in list(self.modules()):
            if isinstance(module, (nn.Conv2d, nn.Linear, nn.Embedding)):
                if wide:
                    nn.init.normal_(module.weight, 0, 0.02)
                elif isinstance(module, nn.Conv2d):
                    nn.init.xavier_uniform_(module.weight)
                spectral(module)

    def forward(self, x: Tensor, labels: Tensor) -> Tensor:
        self._check(x, labels)
        for block in self.blocks:
            x = block(x)
        features = F.relu(x).sum((2, 3))
        return self.linear(features)[:, 0] + (self.classes(labels) * features).sum(1)

    def _check(self, x: Tensor, labels: Tensor) -> None:
        num_classes = self.classes.num_embeddings
        if x.ndim != 4 or x.shape[1] != 3 or labels.shape != x.shape[:1]:
            raise ValueError(
                f"pictures of shape {tuple(x.shape)} and labels of shape {tuple(labels.shape)} were given. (N, 3, H, W) and (N,) "
                f"are needed, a label for each picture. Make pictures RGB, and give their labels."
            )
        if torch.compiler.is_compiling() or not labels.numel():
            return
        low, high = torch.stack(torch.aminmax(labels)).tolist()
        if not 0 <= low <= high < num_classes:
            raise ValueError(
                f"labels between {low} and {high} were given. The {num_classes} classes are 0 to {num_classes - 1}. Map the "
                f"labels to classes first."
            )


class Block(nn.Module):
    """Two convolutions beside a shortcut; the first one takes the picture, to which no ReLU is applied."""

    def __init__(self, before: int, after: int, down: bool, first: bool, wide: bool) -> None:
        super().__init__()
        hidden = after if first or wide else before
        self.down, self.first = down, first
        self.conv1 = nn.Conv2d(before, hidden, 3, padding=1)
        self.conv2 = nn.Conv2d(hidden, after, 3, padding=1)
        self.shortcut = nn.Conv2d(before, after, 1) if first or down or before != after else None

    def forward(self, x: Tensor) -> Tensor:
        y = self.conv2(F.relu(self.conv1(x if self.first else F.relu(x))))
        return self._halved(y) + self._beside(x)

    def _beside(self, x: Tensor) -> Tensor:
        if self.shortcut is None:
            return x
        return self.shortcut(self._halved(x)) if self.first else self._halved(self.shortcut(x))

    def _halved(self, x: Tensor) -> Tensor:
        return F.avg_pool2d(x, 2) if self.down else x


def discriminator(name: str, num_classes: int, size: int = 32, *, width: int | None = None) -> Discriminator:
    """The discriminator that goes with a generator.

    Args:
        name: the generator's, see :func:`generator`; AutoGAN has SNGAN's.
        num_classes: of the data.
        size: pixels a side.
        width: channels of its first block; by default the published 128, 256 for BigGAN, and 64 for 128 pixels.

    Raises:
        ValueError: there is no such discriminator, or not of this size; in a forward, labels out of range.

    Example:
        >>> D = discriminator("sngan", num_classes=2, size=16, width=8)
        >>> D(torch.zeros(3, 3, 16, 16), torch.tensor([0, 1, 1])).shape
        torch.Size([3])
    """
    widths = CHANNELS.get(name, {})
    if size not in (16, 32, 128) or max(32, size) not in widths or num_classes < 1:
        raise ValueError(
            f"the discriminator {name!r} of {size} pixels and {num_classes} classes was asked for. There are {', '.join(NAMES)} "
            f"of 16 and 32 pixels, and sngan of 128, for at least one class. Choose one of these."
        )
    return Discriminator(size, widths[max(32, size)] if width is None else width, num_classes, wide=name == "biggan")
