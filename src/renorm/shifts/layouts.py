"""Layouts of corrupted images on disk, written piece by piece; a piece that is there already is not made again."""

from __future__ import annotations

import json
import os
from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePath
from tempfile import TemporaryDirectory

import numpy as np
import torch
from torch import Tensor

from renorm.data.encode import QUALITY, Coding
from renorm.extras import require
from renorm.files import opened_atomically
from renorm.shifts.corrupted import Corrupted
from renorm.shifts.manifest import SCRATCH

BLOCK = 4096  # bytes: files of most disks take a multiple
ROW = 64  # bytes of a table's row besides the image


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
        source: the images and what to do to them.
        folder: where to write.
    """

    source: Corrupted
    folder: Path

    @property
    @abstractmethod
    def step(self) -> int:
        """Images of one piece."""

    @abstractmethod
    def write(self, piece: Piece) -> None:
        """Make and write a piece, unless it is there."""

    @abstractmethod
    def num_bytes(self) -> int:
        """How much the whole takes on disk, about."""

    def finish(self, corruption: str) -> None:  # noqa: B027 - most layouts have nothing left to do
        """Put the pieces of a corruption together."""

    def pieces(self) -> list[Piece]:
        """All pieces, in order."""
        total = self.source.manifest.num_images
        starts = range(0, total, self.step)
        return [Piece(*cell, at, min(at + self.step, total)) for cell in self.source.manifest.cells for at in starts]

    @property
    def scratch(self) -> Path:
        """Folder of what is not whole yet."""
        return self.folder / SCRATCH

    def save(self, path: Path, data: bytes) -> None:
        """Write a whole file."""
        with opened_atomically(path, self.scratch) as file:
            file.write(data)


class Arrays(Writer):
    """CIFAR-C: ``CORRUPTION.npy``, uint8 ``(5 N, H, W, 3)`` with the severities stacked, and ``labels.npy``, ``(5 N,)``."""

    @property
    def step(self) -> int:
        """Pieces of at most 8 MiB."""
        return max(1, 2**23 // self.source.image_bytes)

    def write(self, piece: Piece) -> None:
        """Write the pixels of a piece to a part of their own."""
        part = self.part(piece)
        if not self.array(piece.corruption).exists() and not part.exists():
            batches = self.source.batches(piece.corruption, piece.severity, piece.indices)
            self.save(part, b"".join(batch.permute(0, 2, 3, 1).contiguous().numpy().tobytes() for batch in batches))

    def finish(self, corruption: str) -> None:
        """Join the parts of a corruption."""
        manifest, target = self.source.manifest, self.array(corruption)
        parts = [self.part(piece) for piece in self.pieces() if piece.corruption == corruption]
        stacked = len(manifest.settings.severities) * manifest.num_images
        if not target.exists():
            with opened_atomically(target, self.scratch) as file:
                shape = (stacked, manifest.height, manifest.width, 3)
                np.lib.format.write_array_header_1_0(file, {"descr": "|u1", "fortran_order": False, "shape": shape})
                for part in parts:
                    file.write(part.read_bytes())
        for part in parts:
            part.unlink(missing_ok=True)
        if not (self.folder / "labels.npy").exists():
            labels = self.source.images.labels.repeat(len(manifest.settings.severities))
            with opened_atomically(self.folder / "labels.npy", self.scratch) as file:
                np.lib.format.write_array(file, labels.numpy(), allow_pickle=False)

    def num_bytes(self) -> int:
        """All arrays, and one more while it is put together."""
        manifest = self.source.manifest
        array = len(manifest.settings.severities) * manifest.num_images * self.source.image_bytes
        return (len(manifest.settings.corruptions) + 1) * array

    def array(self, corruption: str) -> Path:
        """Where the array of a corruption is."""
        return self.folder / f"{corruption}.npy"

    def part(self, piece: Piece) -> Path:
        """Where a piece is until then."""
        return self.scratch / f"{piece.corruption}-{piece.severity}-{piece.start}"


class Encoding(Writer):
    """A layout of encoded images."""

    @property
    def coding(self) -> Coding:
        """How images are encoded."""
        settings = self.source.manifest.settings
        assert settings.format is not None
        return Coding(settings.format, settings.quality or QUALITY)

    def encoded(self, piece: Piece, indices: Tensor) -> Iterator[bytes]:
        """Some images of a piece, one after the other."""
        for batch in self.source.batches(piece.corruption, piece.severity, indices):
            yield from map(self.coding.encode, batch)

    def num_bytes(self) -> int:
        """Measured on other images in each corruption and severity, 32 or more in all."""
        manifest, cells = self.source.manifest, list(self.source.manifest.cells)
        few = torch.linspace(0, manifest.num_images - 1, len(cells) * -(-32 // len(cells))).long().view(len(cells), -1)
        encoded = [self.encoded(Piece(*cell, 0, 0), rows) for cell, rows in zip(cells, few, strict=True)]
        sizes = [self.on_disk(len(data)) for each in encoded for data in each]
        return sum(sizes) * manifest.num_images * len(cells) // len(sizes)

    @abstractmethod
    def on_disk(self, num_bytes: int) -> int:
        """What an encoded image takes."""


class Files(Encoding):
    """ImageNet-C: ``CORRUPTION/SEVERITY/CLASS/IMAGE``."""

    @property
    def step(self) -> int:
        """Images of one piece; what counts as done are the files themselves."""
        return 128

    def on_disk(self, num_bytes: int) -> int:
        """Whole blocks."""
        return -(-num_bytes // BLOCK) * BLOCK

    def write(self, piece: Piece) -> None:
        """Write the files of a piece that are not there."""
        cell = self.folder / piece.corruption / str(piece.severity)
        paths = {i: cell / self.source.path(i, self.coding.suffix) for i in piece.indices.tolist()}
        missing = [i for i, path in paths.items() if not path.exists()]
        encoded = self.encoded(piece, torch.tensor(missing, dtype=torch.int64))
        with TemporaryDirectory(dir=self.scratch) as scratch:
            for i, data in zip(missing, encoded, strict=True):
                (Path(scratch) / str(i)).write_bytes(data)
            os.sync()  # flushes all at once, in a tenth of the time of one after the other
            for i in missing:
                paths[i].parent.mkdir(parents=True, exist_ok=True)
                os.replace(Path(scratch) / str(i), paths[i])


class Tables(Encoding):
    """Parquet in the Hugging Face layout: image, label, corruption, severity; files of at most 5,000 images."""

    @property
    def step(self) -> int:
        """Images of one file."""
        return 5000

    def num_bytes(self) -> int:
        """Rows, and a description in every file."""
        return super().num_bytes() + BLOCK * len(self.pieces())

    def on_disk(self, num_bytes: int) -> int:
        """The image and the rest of its row."""
        return num_bytes + ROW

    def write(self, piece: Piece) -> None:
        """Write a file, row group by row group."""
        path = self.file(piece)
        if path.exists():
            return
        schema = self.schema()
        with opened_atomically(path, self.scratch) as file:
            options = {"compression": "none", "use_dictionary": ["corruption", "severity"]}
            with require("pyarrow.parquet").ParquetWriter(file, schema, **options) as writer:
                for rows in piece.indices.split(100):
                    writer.write_table(require("pyarrow").table(self.columns(piece, rows), schema=schema))

    def columns(self, piece: Piece, rows: Tensor) -> dict[str, list]:
        """Some rows of a piece."""
        names = [PurePath(self.source.path(i, self.coding.suffix)).name for i in rows.tolist()]
        encoded = self.encoded(piece, rows)
        labels = self.source.images.labels[rows].tolist()
        return {
            "image": [{"bytes": data, "path": name} for data, name in zip(encoded, names, strict=True)],
            "label": [None if label < 0 else label for label in labels],
            "corruption": [piece.corruption] * len(rows),
            "severity": [piece.severity] * len(rows),
        }

    def schema(self) -> object:
        """Arrow's types, and Hugging Face's in the metadata."""
        arrow, names = require("pyarrow"), self.source.manifest.classes
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
        total = -(-self.source.manifest.num_images // self.step)
        number = f"{piece.start // self.step:05d}-of-{total:05d}"
        return self.folder / "data" / f"test-{piece.corruption}-{piece.severity}-{number}.parquet"


WRITERS: dict[str, type[Writer]] = {"cifar-c": Arrays, "imagenet-c": Files, "parquet": Tables}
