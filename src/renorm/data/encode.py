"""Tensors to encoded images."""

from __future__ import annotations

import io
from dataclasses import dataclass
from typing import Literal

from torch import Tensor

from renorm.extras import require

Format = Literal["jpeg", "png"]
QUALITY = 85  # of JPEG in the published ImageNet-C


@dataclass(frozen=True)
class Coding:
    """How image files are written.

    Args:
        format: ``"jpeg"`` or ``"png"``.
        quality: of JPEG, 1 to 95.
    """

    format: Format
    quality: int = QUALITY

    @property
    def suffix(self) -> str:
        """What file names end in; ImageNet's own spelling for JPEG."""
        return ".JPEG" if self.format == "jpeg" else ".png"

    def encode(self, pixels: Tensor) -> bytes:
        """One image. Shape: uint8 ``(3, H, W)``, or ``(4, H, W)`` with an alpha channel, which PNG has."""
        image = require("PIL.Image").fromarray(pixels.permute(1, 2, 0).contiguous().numpy())
        buffer = io.BytesIO()
        if self.format == "jpeg":
            image.save(buffer, "JPEG", quality=self.quality, optimize=True)
        else:
            image.save(buffer, "PNG", compress_level=1)  # a tenth larger than usual in a quarter of the time
        return buffer.getvalue()
