"""Encoded images to tensors."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from renorm.data.blobs import Blobs
from renorm.data.frame import GENERIC, SMALL, Frame
from renorm.data.picture import UnreadableImageError, picture_size, read_picture
from renorm.progress import told

DETAIL = 4  # a random crop of 8 % of the area is a little more than a quarter of the side: none is enlarged
DECODED_BYTES = 2**28  # the most that is decoded once and kept: CIFAR, not 100,000 images of 64 pixels


class OtherSizeError(ValueError):
    """An image has another size than those before it, and none was asked for."""

    size: tuple[int, int] = (0, 0)

    @classmethod
    def of(cls, name: str, size: tuple[int, int], others: tuple[int, int]) -> OtherSizeError:
        """The error of an image of a size."""
        error = cls(
            f"{name} has {_pixels(size)}, and images before it {_pixels(others)}: images of one size, or a size for all, are "
            "needed. Give a side in pixels: size=, in the shell --size, or the model= whose input they are."
        )
        error.size = size
        return error


@dataclass(frozen=True)
class Encoded:
    """Images that are decoded when asked for.

    Args:
        blobs: where the images are.
        order: which of them, in what order.
        frame: what is shown of each.
        exact: whether images of another size are an error, as no size was asked for.
        whole: whether items are images of any size instead, neither cut nor distorted, for views that cut them.
    """

    blobs: Blobs
    order: Tensor
    frame: Frame
    exact: bool = False
    whole: bool = False

    def __len__(self) -> int:
        return len(self.order)

    def __getitem__(self, i: int) -> Tensor:
        number = int(self.order[i])
        if self.whole:  # only a part of it will be read
            return to_tensor(decode(self.blobs, number, DETAIL * max(self.size)))
        picture = decode(self.blobs, number)
        if self.exact and picture.size != self.size:
            raise OtherSizeError.of(self.blobs.name(number), picture.size, self.size)
        return to_tensor(self.frame.show(picture)).contiguous()

    @property
    def size(self) -> tuple[int, int]:
        """Width and height of each."""
        return self.frame.size

    def subset(self, indices: Tensor) -> Encoded:
        """The images at some indices, in their order."""
        return replace(self, order=self.order[indices])

    def update(self, digest: Any) -> None:
        """Feed a hash with the encoded images."""
        digest.update(f"{len(self)} {self.frame}".encode())
        for i in told(self.order.tolist(), "hashing", len(self)):
            with named(self.blobs, i):
                digest.update(self.blobs.read(i))


def prepare(blobs: Blobs, frame: Frame | None, order: Tensor) -> Tensor | Encoded:
    """Decode small images once into ``(N, 3, H, W)``, leave larger ones encoded.

    Args:
        blobs: where the images are.
        frame: what is shown of every image; None keeps the size that all have where their sides are at most 96, and shows
            224 x 224 pixels of each where any is larger.
        order: which of the images, in what order.

    Raises:
        ValueError: images of several small sizes, and no size for all; or one cannot be read.
    """
    encoded = encode_lazily(blobs, frame, order)
    width, height = encoded.size
    if max(width, height) > SMALL or 3 * width * height * len(order) > DECODED_BYTES:
        return encoded
    pixels = torch.empty(len(order), 3, height, width, dtype=torch.uint8)
    try:
        for i in told(range(len(order)), "decoding", len(order)):
            pixels[i] = encoded[i]
    except OtherSizeError as error:
        if max(error.size) <= SMALL:
            raise
        return Encoded(blobs, order, Frame.usual(GENERIC, GENERIC))
    return pixels


def encode_lazily(blobs: Blobs, frame: Frame | None, order: Tensor) -> Encoded:
    """Images that stay encoded; without a frame small ones must all have the size of the first."""
    if frame is not None:
        return Encoded(blobs, order, frame)
    width, height = _header(blobs, int(order[0]))
    if max(width, height) > SMALL:
        return Encoded(blobs, order, Frame.usual(GENERIC, GENERIC))
    return Encoded(blobs, order, Frame.usual(*decode(blobs, int(order[0])).size), exact=True)


def undecoded(blobs: Blobs, order: Tensor) -> Encoded:
    """Images of which nothing was looked at yet; what is shown of them is to be said."""
    return Encoded(blobs, order, Frame.usual(GENERIC, GENERIC))


def square(size: int | None) -> Frame | None:
    """The usual frame of a side in pixels; None where none was asked for."""
    return None if size is None else Frame.usual(size, size)


def decode(blobs: Blobs, i: int, least: int | None = None) -> Any:
    """One image as Pillow's RGB; with ``least`` a JPEG of much detail is decoded smaller.

    Raises:
        ValueError: it cannot be read; the message names it.
    """
    with named(blobs, i):
        return read_picture(blobs.read(i), least)


def _header(blobs: Blobs, i: int) -> tuple[int, int]:
    with named(blobs, i):
        return picture_size(blobs.read(i))


@contextmanager
def named(blobs: Blobs, i: int) -> Iterator[None]:
    """Say which image it is that the block cannot read.

    Raises:
        ValueError: it cannot be read.
    """
    try:
        yield
    except PermissionError as error:
        raise ValueError(
            f"{blobs.name(i)} cannot be read ({error.strerror}): a file that you may read is needed. Ask its owner for chmod "
            "a+r, or take it out."
        ) from error
    except (UnreadableImageError, OSError) as error:
        raise ValueError(
            f"{blobs.name(i)} cannot be decoded ({error}). A whole JPEG, PNG or other raster image is needed. "
            "Replace it or take it out."
        ) from error


def to_tensor(picture: Any) -> Tensor:
    """The pixels of an RGB picture. Shape: uint8 ``(3, H, W)``, a view of pixels that lie together."""
    pixels = torch.frombuffer(bytearray(picture.tobytes()), dtype=torch.uint8)
    return pixels.view(picture.height, picture.width, 3).permute(2, 0, 1)


def _pixels(size: tuple[int, int]) -> str:
    return f"{size[0]} x {size[1]} pixels"
