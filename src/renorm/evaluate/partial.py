"""What one shift gave, as a value and as a file, so that an evaluation that was killed goes on where it stopped."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
import torch
from torch import Tensor

from renorm.evaluate.protocol import ImageSet, Protocol
from renorm.evaluate.results import Row
from renorm.files import write_atomically
from renorm.shifts import Shift


@dataclass(frozen=True)
class TablePart:
    """One shift of a table.

    Args:
        rows: One per bank, intervals still to come.
        hits: Of each row, in the same order.
        images: Those that were read for the shift, if any were.
    """

    rows: list[Row]
    hits: list[Tensor]
    images: ImageSet | None = None

    def to_bytes(self) -> bytes:
        """As a safetensors file."""
        about = {
            "rows": json.dumps([asdict(row) for row in self.rows]),
            "images": json.dumps(None if self.images is None else asdict(self.images)),
        }
        return safetensors.torch.save({str(i): hits.to(torch.uint8) for i, hits in enumerate(self.hits)}, about)

    @classmethod
    def read(cls, path: Path) -> TablePart:
        """Read what :meth:`to_bytes` gave."""
        with safetensors.safe_open(path, framework="pt") as file:
            about = file.metadata()
            rows = [Row(**each) for each in json.loads(about["rows"])]
            hits = [file.get_tensor(str(i)).bool() for i in range(len(rows))]
        images = json.loads(about["images"])
        return cls(rows, hits, ImageSet(**images) if images else None)


@dataclass(frozen=True)
class PartialTable:
    """The finished shifts of an evaluation under way, in a folder of its own.

    Args:
        folder: Where they are; it is there only until the table is written.
    """

    folder: Path

    @classmethod
    def under(cls, root: Path, protocol: Protocol, shifts: Sequence[Shift]) -> PartialTable:
        """The place of an evaluation: another model, bank, option, image or version has another one."""
        described = [
            (s.name, s.severity, s.seed, s.scale, s.rounding, None if s.images is None else _identity(s))
            for s in shifts
        ]
        return cls(place(root, protocol, described))

    def write(self, number: int, part: TablePart) -> None:
        """Keep a shift."""
        write_atomically(self._path(number), part.to_bytes())

    def read(self, total: int) -> dict[int, TablePart]:
        """The shifts that are finished; a damaged file is none."""
        found = {}
        for number in range(total):
            try:
                found[number] = TablePart.read(self._path(number))
            except (safetensors.SafetensorError, OSError, KeyError, TypeError, ValueError):
                continue
        return found

    def remove(self) -> None:
        """Forget them, once the table is written."""
        forget(self.folder)

    def _path(self, number: int) -> Path:
        return self.folder / f"{number}.safetensors"


def _identity(shift: Shift) -> list[str | int]:
    """Which images were read, without reading those that are not decoded yet."""
    images, outputs = shift.images, shift.outputs
    assert images is not None
    pixels = images.fingerprint if isinstance(images.pixels, Tensor) else ""
    numbers = [images.labels] if outputs is None else [images.labels, outputs]
    hashes = [hashlib.sha256(each.contiguous().numpy().data).hexdigest() for each in numbers]
    return [images.name, len(images), pixels, *hashes]


def place(root: Path, protocol: Protocol, *more: Any) -> Path:
    """A folder for an evaluation: whatever differs, but for the command, has another one.

    Args:
        root: Of all such folders.
        protocol: Of the evaluation.
        more: What else it depends on, as JSON has it.
    """
    text = json.dumps([replace(protocol, command="").to_json(), *more])
    return root / hashlib.sha256(text.encode()).hexdigest()[:16]


def forget(folder: Path) -> None:
    """Remove a place once the file is written, and the root where it was the last; others stay."""
    shutil.rmtree(folder, ignore_errors=True)
    if folder.parent.is_dir() and not any(folder.parent.iterdir()):
        folder.parent.rmdir()
