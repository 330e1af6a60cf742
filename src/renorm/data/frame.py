"""Which part of an image is shown, and at what size."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from renorm.extras import require

SMALL = 96  # pixels: images up to this side keep their size, and are cropped after padding
CROPPED = 0.875  # of a larger image's shorter side is what evaluation shows: 224 of 256 pixels, as is usual
LONG = 8  # an image whose longer side would be so many times the result's is not scaled as a whole
GENERIC = 224  # pixels: the side of larger images, ImageNet's


@dataclass(frozen=True)
class Frame:
    """What is shown of an image: its centre, scaled. An image that has the size already stays as it is.

    Args:
        size: Width and height of the result.
        crop: Share of the shorter side that is shown; None cuts nothing but the shape.
        interpolation: Pillow's name of it.
        squash: Whether an image is distorted to the shape first, instead of cut.
    """

    size: tuple[int, int]
    crop: float | None = None
    interpolation: str = "bilinear"
    squash: bool = False

    @classmethod
    def usual(cls, width: int, height: int) -> Frame:
        """Of small images all, of larger ones what evaluation on ImageNet shows."""
        return cls((width, height), None if max(width, height) <= SMALL else CROPPED)

    def __str__(self) -> str:
        width, height = self.size
        pixels = f"{width} px" if width == height else f"{width} x {height} px"
        shown = ", not cropped" if self.crop is None else f", crop {self.crop:.3g}{' squashed' * self.squash}"
        return f"{pixels}{shown}, {self.interpolation}"

    def show(self, picture: Any) -> Any:
        """The part of a Pillow image that is shown, scaled.

        With a share, as timm and torchvision do it: the shorter side becomes ``floor(size / crop)``, then the centre is cut.
        """
        if picture.size == self.size:
            return picture
        kind = require("PIL.Image").Resampling[self.interpolation.upper()]
        if self.crop is None:
            return require("PIL.ImageOps").fit(picture, self.size, kind)
        scaled = self._scaled(*picture.size)
        left, top = (round((have - want) / 2) for have, want in zip(scaled, self.size, strict=True))
        box = left, top, left + self.size[0], top + self.size[1]
        if max(scaled) <= LONG * max(self.size):
            return picture.resize(scaled, kind).crop(box)
        # The whole of such an image may not fit into memory; Pillow rounds the ends of a part.
        x, y = (have / want for have, want in zip(picture.size, scaled, strict=True))
        return picture.resize(self.size, kind, box=(box[0] * x, box[1] * y, box[2] * x, box[3] * y))

    def _scaled(self, width: int, height: int) -> tuple[int, int]:
        """What an image's sides become before it is cut."""
        assert self.crop is not None
        wanted = [math.floor(side / self.crop + 1e-6) for side in self.size]
        if self.squash:
            return wanted[0], wanted[1]
        ratio = max(wanted[0] / width, wanted[1] / height)
        return int(width * ratio + 1e-6), int(height * ratio + 1e-6)
