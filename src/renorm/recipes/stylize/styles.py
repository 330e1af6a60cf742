"""Styles by name: pictures, folders of pictures, banks."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from renorm.banks import Bank
from renorm.data import Raster, pictures
from renorm.functional import match_colors
from renorm.models import Stylizer

BANK = ".safetensors"


class StylePicture(NamedTuple):
    """A style picture: ``(3, H, W)`` in 0..1, and ``(H, W)``, 0 where it is transparent."""

    name: str
    pixels: Tensor
    mask: Tensor | None


class NamedStyle(NamedTuple):
    """One style.

    Args:
        name: As it was typed.
        weight: In a mixture.
        bank: Its moments.
        pictures: What they were measured on; none where they were read.
    """

    name: str
    weight: float
    bank: Bank
    pictures: Sequence[StylePicture] = ()


def read_styles(
    net: Stylizer, names: Iterable[str], size: int | None, memory: float, *, apart: bool = False
) -> list[NamedStyle]:
    """Styles by their names, each ``PATH`` or ``PATH=WEIGHT``.

    Args:
        size: Short side that pictures are scaled to.
        memory: Gigabytes that encoding one may take.
        apart: Whether each picture of a folder is a style of its own.

    Raises:
        FileNotFoundError: If there is nothing at a path.
        ValueError: If a picture cannot be read, or is too small or too large; if a folder has banks too.
    """
    found: list[NamedStyle] = []
    for name in names:
        path, weight = divided(name)
        if path.suffix == BANK and path.is_file():
            found.append(NamedStyle(name, weight, fitting(net, Bank.load(path), path)))
            continue
        read = read_pictures(net, path, size, memory)
        for group in [[one] for one in read] if apart else [read]:
            found.append(NamedStyle(group[0].name if apart else name, weight, measured(net, group), group))
    return found


def divided(name: str) -> tuple[Path, float]:
    """A path and a weight; 1 where none is given.

    Example:
        >>> divided("wheat.jpg=0.3")[1], divided("a=b.jpg")[1]
        (0.3, 1.0)
    """
    path, equals, weight = name.rpartition("=")
    if not equals or Path(name).exists():
        return Path(name), 1.0
    try:
        return Path(path), float(weight)
    except ValueError:
        return Path(name), 1.0


def fitting(net: Stylizer, bank: Bank, path: Path) -> Bank:
    """The bank, if it is of this network's encoder.

    Raises:
        ValueError: If it is not; the message names the file.
    """
    try:
        net.site(bank)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error
    return bank


def read_pictures(net: Stylizer, path: Path, size: int | None, memory: float) -> list[StylePicture]:
    """Style pictures at a path, scaled.

    Raises:
        FileNotFoundError: If there is nothing.
        ValueError: If one cannot be read, or is too small or too large; if a folder has banks too.
    """
    banks = sorted(path.glob(f"*{BANK}")) if path.is_dir() else []
    if banks:
        raise ValueError(
            f"{path} has banks ({banks[0].name}, ...), and a folder is one style of pictures. Pictures alone are needed. Name "
            f"the banks themselves, as {banks[0]}, or move them."
        )
    return [prepared(net, one, size, memory) for one in pictures(path)]


def prepared(net: Stylizer, picture: Raster, size: int | None, memory: float) -> StylePicture:
    """A style picture as the encoder takes it.

    Raises:
        ValueError: If it is too large.
    """
    height, width = picture.pixels.shape[1:]
    scale = 1.0 if size is None else size / min(height, width)
    sides = [round(scale * height), round(scale * width)]
    if net.memory(sides) > memory:
        raise ValueError(
            f"{picture.name} has {sides[1]} x {sides[0]} pixels, whose features take {net.memory(sides):.1f} GB, and "
            f"{memory:g} are allowed. Scale it by --style-size 512, or allow more by --memory."
        )
    pixels = scaled(picture.pixels[None].float() / 255, sides)[0]
    if picture.alpha is None:
        return StylePicture(picture.name, pixels, None)
    return StylePicture(picture.name, pixels, scaled(picture.alpha[None, None].float() / 255, sides)[0, 0])


def scaled(x: Tensor, sides: Sequence[int]) -> Tensor:
    """Pictures of other sides."""
    if tuple(x.shape[-2:]) == tuple(sides):
        return x
    return F.interpolate(x, tuple(sides), mode="bilinear", antialias=True).clamp(0, 1)


def measured(net: Stylizer, found: Sequence[StylePicture], like: Tensor | None = None) -> Bank:
    """The style of pictures together, perhaps in the colours of another one.

    Raises:
        ValueError: If one of them is transparent where it is not nearly; the message names it.
    """
    device = next(net.parameters()).device
    pixels = [one.pixels.to(device) for one in found]
    if like is not None:
        pixels = [match_colors(one, like.to(device)) for one in pixels]
    try:
        with torch.no_grad():
            return net.style(pixels, [one.mask for one in found])
    except ValueError as error:
        raise ValueError(f"{found[0].name}{', ...' if len(found) > 1 else ''}: {error}") from error
