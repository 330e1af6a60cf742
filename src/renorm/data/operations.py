"""The operations that policies draw from, on Pillow images: moved, turned, and with other values.

Names, magnitudes and results are torchvision's on Pillow images. Where Pillow makes a table of all values in Python at
each call, which takes several times as long as using it, the values are looked up by bytes or numpy instead.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
import torch
from torch import Tensor

from renorm.extras import require

VALUES = np.arange(256)
GREY = 128  # of 255: what rotated, sheared and cut-out pixels become

SIGNED = frozenset(
    ("ShearX", "ShearY", "TranslateX", "TranslateY", "Rotate", "Brightness", "Color", "Contrast", "Sharpness")
)  # operations whose magnitude is as often negative


@cache
def pillow(module: str = "Image") -> Any:
    """A module of Pillow."""
    return require(f"PIL.{module}")


def to_picture(image: Tensor) -> Any:
    """A Pillow image of a tensor. Shape: uint8 ``(3, H, W)``."""
    return pillow().fromarray(image.permute(1, 2, 0).contiguous().numpy())


def to_tensor(picture: Any) -> Tensor:
    """A tensor of a Pillow image. Shape: uint8 ``(3, H, W)``."""
    return torch.from_numpy(np.array(picture)).permute(2, 0, 1).contiguous()


def apply(picture: Any, name: str, magnitude: float, smooth: bool = False) -> Any:
    """Apply one operation.

    Args:
        picture: a Pillow image, RGB; it is left alone.
        name: ``"Identity"``, ``"ShearX"``, ``"AutoContrast"``, ....
        magnitude: slope of a shear, pixels of a translation, degrees of a rotation, change of a factor that is 1,
            bits that a posterized image keeps, value from which a solarized one is inverted.
        smooth: whether moved pixels are interpolated, rather than the nearest.
    """
    if name in MAPS:
        return _affine(picture, MAPS[name](magnitude), smooth)
    return OPERATIONS[name](picture, magnitude, smooth)


MAPS: dict[str, Callable[[float], tuple[float, ...]]] = {  # from a pixel of the result to one of the image
    "ShearX": lambda slope: (1, slope, 0, 0, 1, 0),
    "ShearY": lambda slope: (1, 0, 0, slope, 1, 0),
    "TranslateX": lambda pixels: (1, 0, -int(pixels), 0, 1, 0),
    "TranslateY": lambda pixels: (1, 0, 0, 0, 1, -int(pixels)),
}


def _affine(picture: Any, coefficients: tuple[float, ...], smooth: bool) -> Any:
    kind = pillow().Transform.AFFINE
    return picture.transform(picture.size, kind, coefficients, _resampling(smooth), fillcolor=(GREY, GREY, GREY))


def _rotate(picture: Any, degrees: float, smooth: bool) -> Any:
    return picture.rotate(degrees, _resampling(smooth), fillcolor=(GREY, GREY, GREY))


def _resampling(smooth: bool) -> Any:
    kinds = pillow().Resampling
    return kinds.BILINEAR if smooth else kinds.NEAREST


def _enhance(kind: str) -> Callable[[Any, float, bool], Any]:
    return lambda picture, change, smooth: getattr(pillow("ImageEnhance"), kind)(picture).enhance(1 + change)


def _contrast(picture: Any, change: float, smooth: bool) -> Any:
    """Move values away from the mean of the grey image, or towards it."""
    mean = int(np.asarray(picture.convert("L")).mean() + 0.5)
    flat = pillow().new(picture.mode, picture.size, (mean, mean, mean))
    return pillow().blend(flat, picture, 1 + change)


def _look_up(picture: Any, table: bytes) -> Any:
    """Every value replaced by the table's."""
    return pillow().frombytes(picture.mode, picture.size, picture.tobytes().translate(table))


def _posterize(picture: Any, bits: float, smooth: bool) -> Any:
    return _look_up(picture, _posterized(int(bits)))


def _solarize(picture: Any, threshold: float, smooth: bool) -> Any:
    return _look_up(picture, _solarized(threshold))


def _invert(picture: Any, magnitude: float, smooth: bool) -> Any:
    return _look_up(picture, _solarized(0))


@cache
def _posterized(bits: int) -> bytes:
    return bytes(value & (0xFF00 >> bits) & 0xFF for value in range(256))


@cache
def _solarized(threshold: float) -> bytes:
    return bytes(value if value < threshold else 255 - value for value in range(256))


def _autocontrast(picture: Any, magnitude: float, smooth: bool) -> Any:
    """Stretch each channel to 0 ... 255; a channel of one value stays."""
    low, high = np.array(picture.getextrema(), np.float64).T[..., None]
    scale = 255 / np.maximum(high - low, 1)
    return _look_up_channels(picture, np.where(high > low, VALUES * scale - low * scale, VALUES))


def _equalize(picture: Any, magnitude: float, smooth: bool) -> Any:
    """Spread each channel's values so that all are about as frequent; a channel with too few of them stays."""
    counts = np.array(picture.histogram()).reshape(-1, 256)
    highest = np.array(picture.getextrema())[:, 1:]
    step = (counts.sum(1, keepdims=True) - np.take_along_axis(counts, highest, 1)) // 255
    table = (step // 2 + counts.cumsum(1) - counts) // np.maximum(step, 1)
    return _look_up_channels(picture, np.where(step > 0, table, VALUES))


def _look_up_channels(picture: Any, tables: Any) -> Any:
    """Every value replaced by its channel's. Shape: ``(3, 256)``."""
    values = np.asarray(picture)
    result = np.empty_like(values)
    for channel, table in enumerate(tables.clip(0, 255).astype(np.uint8)):
        result[..., channel] = table.take(values[..., channel])
    return pillow().fromarray(result)


OPERATIONS: dict[str, Callable[[Any, float, bool], Any]] = {
    "Identity": lambda picture, magnitude, smooth: picture,
    "Rotate": _rotate,
    "Brightness": _enhance("Brightness"),
    "Color": _enhance("Color"),
    "Contrast": _contrast,
    "Sharpness": _enhance("Sharpness"),
    "Posterize": _posterize,
    "Solarize": _solarize,
    "AutoContrast": _autocontrast,
    "Equalize": _equalize,
    "Invert": _invert,
}
