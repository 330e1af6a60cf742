"""Generators of pictures: plain networks of noise, which converting makes conditional.

Reference: Miyato & Koyama, *cGANs with Projection Discriminator*, ICLR 2018, for SNGAN; Gong, Chang, Jiang & Wang, *AutoGAN:
Neural Architecture Search for Generative Adversarial Networks*, ICCV 2019; Brock, Donahue & Simonyan, *Large Scale GAN Training
for High Fidelity Natural Image Synthesis*, ICLR 2019, its network for CIFAR.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from renorm.models.spectral import spectral

START = 4  # pixels a side of what the linear layer gives
WIDTHS = {16: (1, 1, 1), 32: (1, 1, 1, 1), 128: (8, 8, 4, 4, 2, 1)}  # of the start and after each block, in widths
CHANNELS = {16: 256, 32: 256, 128: 64}
UPSAMPLING = ("nearest", "bilinear", "nearest")  # of AutoGAN's cells
NAMES = ("sngan", "autogan", "biggan")


class Generator(nn.Module):
    """Noise to pictures in -1..1; the norms that classes can have parts of are named by :attr:`sites`.

    Shape: z ``(N, latent)`` to ``(N, 3, size, size)``.

    Args:
        size: 16, 32 or 128 pixels a side.
        width: channels C of the last block.
        latent: numbers of noise for each picture.
    """

    blocks: nn.ModuleList

    def __init__(self, size: int, width: int, latent: int) -> None:
        super().__init__()
        self.size, self.latent = size, latent
        self.widths = [width * times for times in WIDTHS[size]]
        self.linear = nn.Linear(latent, START**2 * self.widths[0])
        self.norm = nn.BatchNorm2d(self.widths[-1])
        self.to_rgb = nn.Conv2d(self.widths[-1], 3, 3, padding=1)

    @property
    def sites(self) -> list[str]:
        """Names of the norms in the blocks; that before the colours is every class's."""
        return [f"blocks.{i}.{name}" for i in range(len(self.blocks)) for name in ("norm1", "norm2")]

    def forward(self, z: Tensor) -> Tensor:
        if z.ndim != 2 or z.shape[1] != self.latent:
            raise ValueError(
                f"noise of shape {tuple(z.shape)} was given. A generator takes (N, {self.latent}), a row for each picture. "
                f"Draw it by torch.randn(n, generator.latent)."
            )
        x = self.features(self.linear(z).unflatten(1, (-1, START, START)))
        return self.to_rgb(F.relu(self.norm(x))).tanh()

    def features(self, x: Tensor) -> Tensor:
        """What the blocks make of the start."""
        for block in self.blocks:
            x = block(x)
        return x


class Residual(nn.Module):
    """Twice the size: two norms and convolutions, beside a 1x1 convolution."""

    def __init__(self, before: int, after: int) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.BatchNorm2d(before), nn.BatchNorm2d(after)
        self.conv1 = nn.Conv2d(before, after, 3, padding=1)
        self.conv2 = nn.Conv2d(after, after, 3, padding=1)
        self.shortcut = nn.Conv2d(before, after, 1)

    def forward(self, x: Tensor) -> Tensor:
        y = self.conv1(_twice(F.relu(self.norm1(x))))
        return self.conv2(F.relu(self.norm2(y))) + self.shortcut(_twice(x))


class SNGAN(Generator):
    """The generator of SNGAN: residual blocks of nearest upsampling; see :func:`generator`."""

    def __init__(self, size: int, width: int, latent: int) -> None:
        super().__init__(size, width, latent)
        pairs = zip(self.widths, self.widths[1:], strict=False)
        self.blocks = nn.ModuleList(Residual(before, after) for before, after in pairs)
        _initialize(self)


class BigGAN(SNGAN):
    """SNGAN's with spectral norms on its convolutions and its linear layer, as BigGAN has it for CIFAR."""

    def __init__(self, size: int, width: int, latent: int) -> None:
        super().__init__(size, width, latent)
        for module in list(self.modules()):
            if isinstance(module, (nn.Conv2d, nn.Linear)):
                nn.init.normal_(module.weight, 0, 0.02)
                spectral(module)


class Searched(nn.Module):
    """A cell of AutoGAN: it also takes what earlier cells had in their middle, and gives its own."""

    def __init__(self, width: int, upsampling: str, num_skips: int, shortcut: bool) -> None:
        super().__init__()
        self.upsampling = upsampling
        self.norm1, self.norm2 = nn.BatchNorm2d(width), nn.BatchNorm2d(width)
        self.conv1 = nn.Conv2d(width, width, 3, padding=1)
        self.conv2 = nn.Conv2d(width, width, 3, padding=1)
        self.skips = nn.ModuleList(nn.Conv2d(width, width, 1) for _ in range(num_skips))
        self.shortcut = nn.Conv2d(width, width, 1) if shortcut else None

    def forward(self, x: Tensor, skips: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        size = 2 * x.shape[-1]
        middle = self.conv1(self._scaled(F.relu(self.norm1(x)), size))
        for conv, skip in zip(self.skips, skips, strict=True):
            middle = middle + conv(self._scaled(skip, size))
        y = self.conv2(F.relu(self.norm2(middle)))
        return middle, y if self.shortcut is None else y + self.shortcut(self._scaled(x, size))

    def _scaled(self, x: Tensor, size: int) -> Tensor:
        corners = False if self.upsampling == "bilinear" else None
        return F.interpolate(x, size=(size, size), mode=self.upsampling, align_corners=corners)


class AutoGAN(Generator):
    """AutoGAN's searched generator; what is in the middle of a cell contains the skips that were added to it."""

    def __init__(self, size: int, width: int, latent: int) -> None:
        super().__init__(size, width, latent)
        number = len(self.widths) - 1
        self.blocks = nn.ModuleList(Searched(width, UPSAMPLING[i], i, shortcut=i < 2) for i in range(number))
        _initialize(self)

    def features(self, x: Tensor) -> Tensor:
        skips: list[Tensor] = []
        for cell in self.blocks:
            middle, x = cell(x, skips)
            skips.append(middle)
        return x


def generator(name: str, size: int = 32, *, width: int | None = None, latent: int = 128) -> Generator:
    """A plain generator of pictures.

    It becomes conditional by converting it: with ``share="statistics"`` each class has an affine of its own
    (class-conditional norms), as a sandwich each has one on top of a shared one.

    Args:
        name: ``"sngan"``, ``"autogan"`` or ``"biggan"``.
        size: pixels a side: 16 or 32; of SNGAN also 128.
        width: channels of the last block; by default the published 256, and 64 for 128 pixels.
        latent: numbers of noise for each picture.

    Raises:
        ValueError: there is no such generator, or not of this size.

    Example:
        >>> G = generator("sngan", 16, width=8)
        >>> _ = renorm.sandwich_(G, ["cat", "owl"], sites=G.sites)
        >>> with renorm.route(G, torch.tensor([0, 1, 1])):
        ...     pictures = G(torch.randn(3, G.latent))
        >>> pictures.shape
        torch.Size([3, 3, 16, 16])
    """
    kinds = {"sngan": SNGAN, "autogan": AutoGAN, "biggan": BigGAN}
    if name not in kinds or size not in WIDTHS or (size == 128 and name != "sngan"):
        raise ValueError(
            f"the generator {name!r} of {size} pixels was asked for. There are {', '.join(NAMES)} of 16 and 32 pixels, and sngan "
            f"of 128. Choose one of these, and scale pictures to its size."
        )
    return kinds[name](size, CHANNELS[size] if width is None else width, latent)


def _twice(x: Tensor) -> Tensor:
    return F.interpolate(x, scale_factor=2, mode="nearest")


@torch.no_grad()
def _initialize(model: nn.Module) -> None:
    """Convolutions by Glorot's uniform, norms from N(1, 0.02); the rest as PyTorch does."""
    for module in model.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.xavier_uniform_(module.weight)
        elif isinstance(module, nn.BatchNorm2d):
            nn.init.normal_(module.weight, 1, 0.02)
