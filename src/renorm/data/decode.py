"""Encoded images to tensors."""

from __future__ import annotations

import io
from abc import ABC, abstractmethod
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from renorm.data.views import SMALL, central
from renorm.extras import require

GENERIC = 224  # pixels: the side of larger images, ImageNet's
DETAIL = 4  # a random crop of 8 % of the area is a little more than a quarter of the side: none is enlarged
DECODED_BYTES = 2**31  # the most that is decoded once


class Blobs(ABC):
    """Encoded images, each with a name for messages."""

    @abstractmethod
    def __len__(self) -> int: ...

    @abstractmethod
    def read(self, i: int) -> bytes: ...

    @abstractmethod
    def name(self, i: int) -> str: ...


@dataclass(frozen=True)
class Encoded:
    """Images that are decoded when asked for.

    Args:
        blobs: where the images are.
        order: which of them, in what order.
        size: width and height that each is scaled and cut to.
        whole: whether items are images of any size instead, neither cut nor distorted, for views that cut them.
    """

    blobs: Blobs
    order: Tensor
    size: tuple[int, int]
    whole: bool = False

    def __len__(self) -> int:
        return len(self.order)

    def __getitem__(self, i: int) -> Tensor:
        read = decode_whole if self.whole else decode
        image = read(self.blobs, int(self.order[i]), self.size)
        pixels = torch.frombuffer(bytearray(image.tobytes()), dtype=torch.uint8)
        tensor = pixels.view(image.height, image.width, 3).permute(2, 0, 1)
        return tensor if self.whole else tensor.contiguous()  # of a whole image only a part will be read

    def subset(self, indices: Tensor) -> Encoded:
        """The images at some indices, in their order."""
        return replace(self, order=self.order[indices])

    def update(self, digest: Any) -> None:
        """Feed a hash with the encoded images."""
        digest.update(f"{len(self)} {self.size}".encode())
        for i in self.order.tolist():
            digest.update(self.blobs.read(i))


def prepare(blobs: Blobs, size: int | None, order: Tensor) -> Tensor | Encoded:
    """Decode small images once into ``(N, 3, H, W)``, leave larger ones encoded.

    Args:
        blobs: where the images are.
        size: side of the square that every image is scaled and cut to; None keeps the size of the first image where its
            sides are at most 96, and is 224 otherwise.
        order: which of the images, in what order.
    """
    width, height = (size, size) if size else natural_size(blobs, int(order[0]))
    if max(width, height) > SMALL or 3 * width * height * len(order) > DECODED_BYTES:
        return Encoded(blobs, order, (width, height))
    pixels = bytearray()
    for i in order.tolist():
        pixels += decode(blobs, i, (width, height)).tobytes()
    stacked = torch.frombuffer(pixels, dtype=torch.uint8).view(len(order), height, width, 3)
    return stacked.permute(0, 3, 1, 2).contiguous()


def natural_size(blobs: Blobs, i: int) -> tuple[int, int]:
    """Width and height of an image where both are small, else the generic ones."""
    width, height = _open(blobs, i).size
    return (width, height) if max(width, height) <= SMALL else (GENERIC, GENERIC)


def decode(blobs: Blobs, i: int, size: tuple[int, int]) -> Any:
    """One RGB image of ``size`` (width, height): as it is, if it has that size, else cut to the center and scaled.

    Up to 96 pixels nothing but the shape is cut; of larger images 1/16 is cut from either end of the shorter side, as
    networks for such images are evaluated.
    """
    image = _rgb(_open(blobs, i), blobs, i)
    if image.size == size:
        return image
    bilinear = require("PIL.Image").Resampling.BILINEAR
    if max(size) <= SMALL:
        return require("PIL.ImageOps").fit(image, size, bilinear)
    top, left, side = central(image.height, image.width)
    return image.crop((left, top, left + side, top + side)).resize(size, bilinear)


def decode_whole(blobs: Blobs, i: int, size: tuple[int, int]) -> Any:
    """One RGB image as it is; of a JPEG with more detail than crops of ``size`` can show, an eighth to a half of it."""
    image = _open(blobs, i)
    image.draft("RGB", tuple(DETAIL * side for side in size))
    return _rgb(image, blobs, i)


def _rgb(image: Any, blobs: Blobs, i: int) -> Any:
    try:
        return image.convert("RGB")
    except (OSError, ValueError, SyntaxError) as error:
        raise _undecodable(blobs, i, error) from error


def _open(blobs: Blobs, i: int) -> Any:
    try:
        return require("PIL.Image").open(io.BytesIO(blobs.read(i)))
    except (OSError, ValueError, SyntaxError) as error:
        raise _undecodable(blobs, i, error) from error


def _undecodable(blobs: Blobs, i: int, error: Exception) -> ValueError:
    return ValueError(
        f"{blobs.name(i)} cannot be decoded ({type(error).__name__}: {error}). "
        "A whole JPEG, PNG or other image that Pillow reads is needed. Replace it or take it out."
    )
