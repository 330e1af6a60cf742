"""Parts of larger images, of any size and shape, as squares of one size."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from renorm.data.frame import CROPPED, Frame
from renorm.data.operations import to_picture, to_tensor

AREA, ASPECT, TRIES = (0.08, 1.0), (3 / 4, 4 / 3), 10  # of random resized crops


@dataclass(frozen=True)
class Centered:
    """The central square of a larger image, scaled, as in evaluation; an image of that size stays as it is.

    Shape:
        ``(3, H, W) -> (3, size, size)``.

    Args:
        size: side of the result; the square's is 0.875 of the image's shorter side.
    """

    size: int

    def __call__(self, image: Tensor) -> Tensor:
        """Cut and scale."""
        height, width = image.shape[-2:]
        if height == width == self.size:
            return image
        return to_tensor(Frame((self.size, self.size), CROPPED).show(to_picture(image)))


@dataclass(frozen=True)
class Resized:
    """A random part of the image scaled to a square, then perhaps a horizontal flip: the weak view of larger images.

    The part has 8 to 100 % of the area and an aspect ratio of 3/4 to 4/3, uniform in its logarithm; where ten draws do
    not fit, it is the largest central part whose aspect ratio is allowed.

    Shape:
        ``(3, H, W) -> (3, size, size)``.

    Args:
        size: Side of the result.
        flip: Whether half of the images are mirrored.

    Reference: Szegedy et al., *Going Deeper with Convolutions*, CVPR 2015.
    """

    size: int
    flip: bool = True

    def __call__(self, image: Tensor) -> Tensor:
        """Draw one view."""
        mirrored, *draws = torch.rand(1 + 4 * TRIES).tolist()
        scaled = _scaled(image, *random_box(image.shape[-2], image.shape[-1], draws), self.size)
        return scaled.flip(-1) if self.flip and mirrored < 0.5 else scaled


def random_box(height: int, width: int, draws: list[float]) -> tuple[int, int, int, int]:
    """Top, left, height and width of a random part; four uniform draws for each try."""
    low, high = (math.log(ratio) for ratio in ASPECT)
    for i in range(0, len(draws), 4):
        area = height * width * (AREA[0] + draws[i] * (AREA[1] - AREA[0]))
        ratio = math.exp(low + draws[i + 1] * (high - low))
        w, h = round(math.sqrt(area * ratio)), round(math.sqrt(area / ratio))
        if 0 < w <= width and 0 < h <= height:
            return int(draws[i + 2] * (height - h + 1)), int(draws[i + 3] * (width - w + 1)), h, w
    w, h = min(width, round(height * ASPECT[1])), min(height, round(width / ASPECT[0]))
    return (height - h) // 2, (width - w) // 2, h, w


def _scaled(image: Tensor, top: int, left: int, height: int, width: int, size: int) -> Tensor:
    cut = image[None, :, top : top + height, left : left + width]
    return F.interpolate(cut, (size, size), mode="bilinear", antialias=True)[0]
