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

GREY = 128  # of 255: what rotated, sheared and cut-out pixels become

SIGNED = frozenset(
    ("ShearX", "ShearY", "TranslateX", "TranslateY", "Rotate", "Brightness", "Color", "Contrast", "Sharpness")
)  # operations whose magnitude is as often negative


def to_picture(image: Tensor) -> Any:
    """A Pillow image of a tensor. Shape: uint8 ``(3, H, W)``."""
    return require("PIL.Image").fromarray(image.permute(1, 2, 0).contiguous().numpy())


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
    pil = require("PIL.Image")
    return picture.transform(
        picture.size, pil.Transform.AFFINE, coefficients, _resampling(smooth), fillcolor=(GREY, GREY, GREY)
    )


def _rotate(picture: Any, degrees: float, smooth: bool) -> Any:
    return picture.rotate(degrees, _resampling(smooth), fillcolor=(GREY, GREY, GREY))


def _resampling(smooth: bool) -> Any:
    kinds = require("PIL.Image").Resampling
    return kinds.BILINEAR if smooth else kinds.NEAREST


def _enhance(kind: str) -> Callable[[Any, float, bool], Any]:
    return lambda picture, change, smooth: getattr(require("PIL.ImageEnhance"), kind)(picture).enhance(1 + change)


def _look_up(picture: Any, table: bytes) -> Any:
    """Every value replaced by the table's."""
    return require("PIL.Image").frombytes(picture.mode, picture.size, picture.tobytes().translate(table))


def _posterize(picture: Any, bits: float, smooth: bool) -> Any:
    return _look_up(picture, _posterized(int(bits)))


def _solarize(picture: Any, threshold: float, smooth: bool) -> Any:
    return _look_up(picture, _solarized(threshold))


def _invert(picture: Any, magnitude: float, smooth: bool) -> Any:
    return require("PIL.ImageOps").invert(picture)


@cache
def _posterized(bits: int) -> bytes:
    return bytes(value & (0xFF00 >> bits) & 0xFF for value in range(256))


@cache
def _solarized(threshold: float) -> bytes:
    return bytes(value if value < threshold else 255 - value for value in range(256))


def _autocontrast(picture: Any, magnitude: float, smooth: bool) -> Any:
    """Stretch each channel to 0 ... 255; a channel of one value stays."""
    values = np.asarray(picture)
    low, high = (extreme.astype(np.float64) for extreme in (values.min((0, 1)), values.max((0, 1))))
    scale = 255 / np.maximum(high - low, 1)
    offset = np.where(high > low, -low * scale, 0)
    scale = np.where(high > low, scale, 1)
    return _look_up_channels(values, (np.arange(256)[:, None] * scale + offset).clip(0, 255))


def _equalize(picture: Any, magnitude: float, smooth: bool) -> Any:
    """Spread each channel's values so that all are about as frequent; one of a single value stays."""
    values = np.asarray(picture)
    counts = np.stack([np.bincount(values[..., c].ravel(), minlength=256) for c in range(3)], 1)
    last = np.take_along_axis(counts, values.max((0, 1)).astype(np.int64)[None], 0)
    step = (counts.sum(0) - last[0]) // 255
    table = (step // 2 + counts.cumsum(0) - counts) // np.maximum(step, 1)
    return _look_up_channels(values, np.where(step > 0, table.clip(0, 255), np.arange(256)[:, None]))


def _look_up_channels(values: Any, table: Any) -> Any:
    """Every value replaced by its channel's. Shape: ``(H, W, 3)`` and ``(256, 3)``."""
    flat = table.astype(np.uint8).T.ravel()
    return require("PIL.Image").fromarray(flat.take(values + np.array([0, 256, 512])))


OPERATIONS: dict[str, Callable[[Any, float, bool], Any]] = {
    "Identity": lambda picture, magnitude, smooth: picture,
    "Rotate": _rotate,
    "Brightness": _enhance("Brightness"),
    "Color": _enhance("Color"),
    "Contrast": _enhance("Contrast"),
    "Sharpness": _enhance("Sharpness"),
    "Posterize": _posterize,
    "Solarize": _solarize,
    "AutoContrast": _autocontrast,
    "Equalize": _equalize,
    "Invert": _invert,
}
