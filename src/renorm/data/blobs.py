"""Encoded images, wherever they are."""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor


class Blobs(ABC):
    """Encoded images, each with a name for messages."""

    @abstractmethod
    def __len__(self) -> int: ...

    @abstractmethod
    def read(self, i: int) -> bytes: ...

    @abstractmethod
    def name(self, i: int) -> str: ...


@dataclass(frozen=True)
class Files(Blobs):
    """Image files of a folder, by their names below it."""

    folder: str
    names: list[str]

    def __len__(self) -> int:
        return len(self.names)

    def read(self, i: int) -> bytes:
        return Path(self.name(i)).read_bytes()

    def name(self, i: int) -> str:
        return os.path.join(self.folder, self.names[i])


@dataclass(frozen=True)
class Pixels(Blobs):
    """Decoded images as files without compression, for what scales files. Shape: uint8 ``(N, 3, H, W)``."""

    data: str
    pixels: Tensor

    def __len__(self) -> int:
        return len(self.pixels)

    def read(self, i: int) -> bytes:
        height, width = self.pixels.shape[-2:]
        return b"P6 %d %d 255\n" % (width, height) + self.pixels[i].permute(1, 2, 0).contiguous().numpy().tobytes()

    def name(self, i: int) -> str:
        return f"image {i} of {self.data}"
