"""The one class of data sets."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import Dataset

from renorm.data.blobs import Pixels
from renorm.data.decode import Encoded, prepare
from renorm.data.frame import SMALL, Frame
from renorm.data.origin import Origin
from renorm.data.preprocessing import IMAGENET_MEAN, IMAGENET_STD, preprocessing_of


@dataclass(frozen=True, eq=False)
class Images(Dataset[tuple[Tensor, int]]):
    """Images of one size with their labels: item i is a uint8 tensor ``(3, H, W)`` and an int.

    Args:
        name: where the images come from, for reports.
        pixels: all images as one uint8 tensor ``(N, 3, H, W)``, or still encoded and decoded when asked for.
        labels: int64 ``(N,)``; -1 where the class is unknown.
        classes: names of the classes; empty where none are known.
        mean: per channel, of what a network's input is normalized by, in units of 0 to 1; ImageNet's unless known.
        std: likewise.
        domains: names of the domains present, or None where the data have none.
        domain: int64 ``(N,)``, each image's index into ``domains``.
        files: each image's file name, below the folder of its class, or None where the data have none.
        origin: how they were read, or None for others and for an arbitrary part of them.

    Example:
        >>> images = Images("two", torch.zeros(2, 3, 8, 8, dtype=torch.uint8), torch.tensor([0, 1]), ["a", "b"])
        >>> len(images), images[1][1], images.subset([1]).labels
        (2, 1, tensor([1]))
    """

    name: str
    pixels: Tensor | Encoded
    labels: Tensor
    classes: list[str]
    mean: tuple[float, float, float] = IMAGENET_MEAN
    std: tuple[float, float, float] = IMAGENET_STD
    domains: list[str] | None = None
    domain: Tensor | None = None
    files: list[str] | None = None
    origin: Origin | None = None

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, i: int) -> tuple[Tensor, int]:
        return self.pixels[i].contiguous(), int(self.labels[i])

    def __iter__(self) -> Iterator[tuple[Tensor, int]]:
        return (self[i] for i in range(len(self)))

    def batch(self, indices: Sequence[int] | Tensor) -> tuple[Tensor, Tensor]:
        """The images ``(n, 3, H, W)``, uint8, and labels ``(n,)`` at some indices."""
        indices = torch.as_tensor(indices, dtype=torch.int64)
        if isinstance(self.pixels, Encoded):
            return torch.stack([self.pixels[i] for i in indices.tolist()]), self.labels[indices]
        return self.pixels[indices].contiguous(), self.labels[indices]

    def normalized(self, indices: Sequence[int] | Tensor | None = None, *, like: Any = None) -> Tensor:
        """Images as networks take them, ``(x / 255 - mean) / std`` in float32; all of them by default.

        Args:
            indices: of which.
            like: the model whose input they become, as :meth:`like` takes it.
        """
        if like is not None:
            return self.like(like).normalized(indices)
        pixels, _ = self.batch(range(len(self)) if indices is None else indices)
        mean, std = (torch.tensor(t).view(3, 1, 1) for t in (self.mean, self.std))
        return (pixels / 255 - mean) / std

    def like(self, model: Any) -> Images:
        """The same images as a model wants them: its part of each image at its size, to be normalized by its mean and std.

        Args:
            model: what :func:`preprocessing_of` takes.

        Raises:
            ValueError: it does not say what it wants.
        """
        wanted = preprocessing_of(model)
        pixels = self.pixels if wanted.frame is None else _shown(self, wanted.frame)
        origin = self.origin and replace(self.origin, size=None, frame=wanted.frame)
        return replace(self, pixels=pixels, mean=wanted.mean, std=wanted.std, origin=origin)

    def subset(self, indices: Sequence[int] | Tensor) -> Images:
        """The images at some indices, in their order."""
        indices = torch.as_tensor(indices, dtype=torch.int64)
        domain = None if self.domain is None else self.domain[indices]
        pixels = self.pixels.subset(indices) if isinstance(self.pixels, Encoded) else self.pixels[indices]
        files = None if self.files is None else [self.files[i] for i in indices.tolist()]
        return replace(self, pixels=pixels, labels=self.labels[indices], domain=domain, files=files, origin=None)

    def of_domain(self, name: str) -> Images:
        """The images of one domain.

        Raises:
            ValueError: They have no domains, or none of it.
        """
        if self.domains is None or self.domain is None:
            raise ValueError(
                f"{self.name} has no domains: a Parquet file with a column 'domain' is needed. Write one, or leave the shift "
                "'domains' out."
            )
        members = (self.domain == self.domains.index(name)).nonzero()[:, 0] if name in self.domains else ()
        if not len(members):
            raise ValueError(
                f"no image of the domain {name} is among the {len(self)} of {self.name}: a shift needs at least one. "
                "Evaluate on more images."
            )
        return replace(self.subset(members), origin=self.origin and replace(self.origin, domain=name))

    def whole(self) -> Images:
        """The same images of any size and shape, for views that cut parts out of them; small ones are as they were."""
        if isinstance(self.pixels, Encoded) and max(self.pixels.size) > SMALL:
            return replace(self, pixels=replace(self.pixels, whole=True))
        return self

    @cached_property
    def fingerprint(self) -> str:
        """16 hexadecimal digits of the SHA-256 of labels and pixels (of the encoded files and the size, where lazy)."""
        digest = hashlib.sha256(self.labels.numpy().data)
        if isinstance(self.pixels, Encoded):
            self.pixels.update(digest)
        else:
            digest.update(repr(tuple(self.pixels.shape)).encode())
            digest.update(self.pixels.contiguous().numpy().data)
        return digest.hexdigest()[:16]

    def __repr__(self) -> str:
        height, width = self[0][0].shape[1:] if len(self) else (0, 0)
        domains = "" if self.domains is None else f", domains {', '.join(self.domains)}"
        return f"Images({self.name!r}: {len(self)} of {height} x {width}, {len(self.classes)} classes{domains})"


def framed(images: Images, frame: Frame | None) -> Tensor | Encoded:
    """Pixels as a frame shows them, decoded once where they are small; without a frame at their own size."""
    if isinstance(images.pixels, Encoded):
        return prepare(images.pixels.blobs, frame, images.pixels.order)
    if frame is None or images.pixels.shape[-2:] == frame.size[::-1]:
        return images.pixels
    return prepare(Pixels(images.name, images.pixels), frame, torch.arange(len(images)))


def _shown(images: Images, frame: Frame) -> Tensor | Encoded:
    """The same, but all that is encoded stays so."""
    pixels = images.pixels
    if isinstance(pixels, Encoded):
        return replace(pixels, frame=frame, exact=False)
    if pixels.shape[-2:] == frame.size[::-1]:
        return pixels
    return Encoded(Pixels(images.name, pixels), torch.arange(len(pixels)), frame)


def sample(images: Images, n: int, seed: int = 0) -> Images:
    """Draw n of the images without replacement, the same ones for the same seed.

    Raises:
        ValueError: n is not between 1 and the number of images.
    """
    if not 1 <= n <= len(images):
        raise ValueError(
            f"{n} images cannot be drawn from the {len(images)} of {images.name!r}. "
            f"Draw between 1 and {len(images)}, or load more."
        )
    generator = torch.Generator().manual_seed(seed)
    drawn = images.subset(torch.randperm(len(images), generator=generator)[:n])
    return replace(drawn, origin=images.origin and replace(images.origin, drawn=(n, seed)))
