"""Layouts of corrupted images on disk, written in pieces that several processes can share."""

from __future__ import annotations

import io
import json
from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePath

import numpy as np
import torch
from torch import Tensor

from renorm.data import QUALITY, Coding
from renorm.extras import require
from renorm.shifts.corrupted import Corrupted


@dataclass(frozen=True)
class Piece:
    """Images of one corruption and severity: those from ``start`` to before ``stop``."""

    corruption: str
    severity: int
    start: int
    stop: int

    @property
    def indices(self) -> Tensor:
        """Of the images."""
        return torch.arange(self.start, self.stop)


@dataclass(frozen=True)
class Writer(ABC):
    """Writes corrupted images in one layout.

    Args:
        corrupted: the images and what to do to them.
        folder: where to write: it is there, and empty but for the manifest.
    """

    corrupted: Corrupted
    folder: Path

    @property
    @abstractmethod
    def step(self) -> int:
        """Images of one piece."""

    @abstractmethod
    def write(self, piece: Piece) -> None:
        """Make and write a piece."""

    def begin(self) -> None:  # noqa: B027 - most layouts have nothing to prepare
        """Write what the pieces have in common."""

    def pieces(self) -> list[Piece]:
        """All pieces, in order."""
        total = self.corrupted.manifest.num_images
        starts = range(0, total, self.step)
        return [Piece(*cell, at, min(at + self.step, total)) for cell in self.corrupted.manifest.cells for at in starts]


class ArrayWriter(Writer):
    """CIFAR-C: ``CORRUPTION.npy``, uint8 ``(5 N, H, W, 3)`` with the severities stacked, and ``labels.npy``, ``(5 N,)``."""

    @property
    def step(self) -> int:
        """Pieces of at most 8 MiB."""
        return max(1, 2**23 // self.corrupted.image_bytes)

    def begin(self) -> None:
        """Write the labels, and arrays of the final size for the pieces to fill."""
        settings, header = self.corrupted.manifest.settings, self.header()
        for corruption in settings.corruptions:
            with open(self.array(corruption), "wb") as file:
                file.write(header)
                file.truncate(len(header) + self.stacked * self.corrupted.image_bytes)
        labels = self.corrupted.images.labels.repeat(len(settings.severities))
        np.save(self.folder / "labels.npy", labels.numpy(), allow_pickle=False)

    def write(self, piece: Piece) -> None:
        """Fill in the pixels of a piece."""
        manifest, images = self.corrupted.manifest, piece.start
        images += manifest.settings.severities.index(piece.severity) * manifest.num_images
        with open(self.array(piece.corruption), "r+b") as file:
            file.seek(len(self.header()) + images * self.corrupted.image_bytes)
            for batch in self.corrupted.batches(piece.corruption, piece.severity, piece.indices):
                file.write(batch.permute(0, 2, 3, 1).contiguous().numpy().tobytes())

    @property
    def stacked(self) -> int:
        """Images of one array."""
        return len(self.corrupted.manifest.settings.severities) * self.corrupted.manifest.num_images

    def header(self) -> bytes:
        """What NumPy's format has before the pixels."""
        file, manifest = io.BytesIO(), self.corrupted.manifest
        shape = (self.stacked, manifest.height, manifest.width, 3)
        np.lib.format.write_array_header_1_0(file, {"descr": "|u1", "fortran_order": False, "shape": shape})
        return file.getvalue()

    def array(self, corruption: str) -> Path:
        """Where the array of a corruption is."""
        return self.folder / f"{corruption}.npy"


class EncodedWriter(Writer):
    """A layout of encoded images."""

    @property
    def coding(self) -> Coding:
        """How images are encoded."""
        settings = self.corrupted.manifest.settings
        assert settings.format is not None
        return Coding(settings.format, settings.quality or QUALITY)

    def encoded(self, piece: Piece, indices: Tensor) -> Iterator[bytes]:
        """Some images of a piece, one after the other."""
        for batch in self.corrupted.batches(piece.corruption, piece.severity, indices):
            yield from map(self.coding.encode, batch)


class FileWriter(EncodedWriter):
    """ImageNet-C: ``CORRUPTION/SEVERITY/CLASS/IMAGE``."""

    @property
    def step(self) -> int:
        """Images of one piece."""
        return 128

    def write(self, piece: Piece) -> None:
        """Write the files of a piece."""
        cell = self.folder / piece.corruption / str(piece.severity)
        for i, data in zip(piece.indices.tolist(), self.encoded(piece, piece.indices), strict=True):
            path = cell / self.corrupted.path(i, self.coding.suffix)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)


class TableWriter(EncodedWriter):
    """Parquet in the Hugging Face layout: image, label, corruption, severity; files of at most 5,000 images."""

    @property
    def step(self) -> int:
        """Images of one file."""
        return 5000

    def write(self, piece: Piece) -> None:
        """Write a file, row group by row group."""
        path, schema = self.file(piece), self.schema()
        path.parent.mkdir(exist_ok=True)
        options = {"compression": "none", "use_dictionary": ["corruption", "severity"]}
        with open(path, "wb") as file, require("pyarrow.parquet").ParquetWriter(file, schema, **options) as writer:
            for rows in piece.indices.split(100):
                writer.write_table(require("pyarrow").table(self.columns(piece, rows), schema=schema))

    def columns(self, piece: Piece, rows: Tensor) -> dict[str, list]:
        """Some rows of a piece."""
        names = [PurePath(self.corrupted.path(i, self.coding.suffix)).name for i in rows.tolist()]
        encoded = self.encoded(piece, rows)
        labels = self.corrupted.images.labels[rows].tolist()
        return {
            "image": [{"bytes": data, "path": name} for data, name in zip(encoded, names, strict=True)],
            "label": [None if label < 0 else label for label in labels],
            "corruption": [piece.corruption] * len(rows),
            "severity": [piece.severity] * len(rows),
        }

    def schema(self) -> object:
        """Arrow's types, and Hugging Face's in the metadata."""
        arrow, names = require("pyarrow"), self.corrupted.manifest.classes
        image = arrow.struct([("bytes", arrow.binary()), ("path", arrow.string())])
        fields = [
            ("image", image),
            ("label", arrow.int64()),
            ("corruption", arrow.string()),
            ("severity", arrow.int8()),
        ]
        features = {
            "image": {"_type": "Image"},
            "label": {"_type": "ClassLabel", "names": names} if names else {"_type": "Value", "dtype": "int64"},
            "corruption": {"_type": "Value", "dtype": "string"},
            "severity": {"_type": "Value", "dtype": "int8"},
        }
        return arrow.schema(fields, {"huggingface": json.dumps({"info": {"features": features}})})

    def file(self, piece: Piece) -> Path:
        """Where a piece is: ``data/test-fog-3-00000-of-00002.parquet``."""
        total = -(-self.corrupted.manifest.num_images // self.step)
        number = f"{piece.start // self.step:05d}-of-{total:05d}"
        return self.folder / "data" / f"test-{piece.corruption}-{piece.severity}-{number}.parquet"


WRITERS: dict[str, type[Writer]] = {"cifar-c": ArrayWriter, "imagenet-c": FileWriter, "parquet": TableWriter}
