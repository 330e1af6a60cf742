"""Pictures in the manner that was asked for, one by one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from renorm.banks import Bank
from renorm.data import Raster, pictures
from renorm.models import Stylizer
from renorm.recipes.stylize.manner import Manner
from renorm.recipes.stylize.styles import NamedStyle, measured, read_styles
from renorm.seeds import stable_seed

LEAST = 9  # pixels a side of a content


@dataclass(frozen=True)
class Styling:
    """What turns pictures into stylized ones.

    Args:
        net: The network.
        manner: What was asked for.
        styles: With the moments of each.
        own: Moments that all pictures are normalized by.
        masks: Of each style, ``(H, W)``.
    """

    net: Stylizer
    manner: Manner
    styles: Sequence[NamedStyle]
    own: Bank | None = None
    masks: Sequence[Tensor] = field(default=())

    @torch.no_grad()
    def __call__(self, picture: Raster, number: int = 0) -> Tensor:
        """One picture, with its alpha channel if it has one. Shape: uint8 ``(3 or 4, H, W)``.

        Raises:
            ValueError: If it is too small, or masks are of another size; the message names it.
        """
        check_size(picture.name, picture.pixels.shape[1:])
        x = picture.pixels[None].to(next(self.net.parameters()).device) / 255
        style = self._style(x, number)
        try:
            tile = self.net.tile(x.shape[-2:], self.manner.memory)
            check_whole(tile, self.masks, self.manner.memory)
            if tile is None:
                y = self.net(x, style, self.manner.alpha, self.own)
            else:
                y = self.net.tiled(x, style, self.manner.alpha, self.own, tile=tile)
        except ValueError as error:
            raise ValueError(f"{picture.name}: {error}") from error
        pixels = (y[0].clamp(0, 1) * 255).round().byte().cpu()
        return pixels if picture.alpha is None else torch.cat([pixels, picture.alpha[None]])

    def drawn(self, number: int) -> Sequence[NamedStyle]:
        """The styles of a picture: all, or the one that is drawn for it."""
        if not self.manner.draw:
            return self.styles
        return [self.styles[stable_seed(self.manner.seed, "style", number) % len(self.styles)]]

    def _style(self, x: Tensor, number: int) -> Mapping[Bank, float | Tensor]:
        styles = self.drawn(number)
        banks = [measured(self.net, one.pictures, x[0]) if self.manner.keep_colors else one.bank for one in styles]
        if self.masks:
            return {bank: one.weight * mask for bank, one, mask in zip(banks, styles, self.masks, strict=True)}
        return {bank: one.weight for bank, one in zip(banks, styles, strict=True)}


def styling(net: Stylizer, manner: Manner) -> Styling:
    """What stylizes, with all that was named read.

    Raises:
        FileNotFoundError: If there is nothing at a path.
        ValueError: If options do not go together, or a file cannot be used.
    """
    manner.check()
    size, memory = manner.style_size, manner.memory
    styles = read_styles(net, manner.style, size, memory, apart=manner.draw)
    if sum(style.weight for style in styles) <= 0 or min(style.weight for style in styles) < 0:
        raise ValueError(
            f"--style {' '.join(manner.style)}: weights of at least 0 are needed, one of them above. Correct them."
        )
    read = [style.name for style in styles if not style.pictures]
    if manner.keep_colors and read:
        raise ValueError(
            f"--keep-colors with {read[0]}, a bank, which has no colours: the style's pictures are needed. Name them in its "
            f"place."
        )
    if manner.bound is not None:
        net.bound = manner.bound
    own = read_styles(net, [str(manner.own)], None, memory)[0].bank if manner.own else None
    return Styling(net, manner, styles, own, [read_mask(path) for path in manner.masks])


def read_mask(path: object) -> Tensor:
    """A picture's brightness in 0..1, ``(H, W)``."""
    picture = pictures(str(path))[0]
    return picture.pixels.float().mean(0) / 255


def check_whole(tile: int | None, masks: Sequence[Tensor], memory: float) -> None:
    """Refuse masks of a picture that is computed in tiles.

    Raises:
        ValueError: If so.
    """
    if tile is not None and masks:
        raise ValueError(
            f"masks were given, and it takes more than the {memory:g} GB that are allowed. Regions are computed of whole "
            f"pictures alone. Allow more by --memory, or scale it."
        )


def check_size(name: str, sides: Sequence[int]) -> None:
    """Refuse a picture that is too small to be stylized.

    Raises:
        ValueError: If it is.
    """
    if min(sides) < LEAST:
        raise ValueError(
            f"{name} has {sides[1]} x {sides[0]} pixels: at least {LEAST} a side are needed. Enlarge it, or take it out."
        )
