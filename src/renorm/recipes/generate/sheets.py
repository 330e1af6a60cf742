"""Sheets of pictures, a row for each class."""

from __future__ import annotations

import re
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from renorm.data import Coding

SAMPLES = "samples"  # folder of a run
ROWS, COLUMNS = 10, 8  # of a sheet, at most
SIDE, GAP, WHITE = 48, 2, 255  # pixels that a picture has at least, and between pictures


def sheet_of(folder: Path, bank: str) -> Path:
    """Where the sheet of a bank is.

    Example:
        >>> sheet_of(Path("run"), "batch:64").as_posix()
        'run/samples/batch-64.png'
    """
    return folder / SAMPLES / f"{re.sub(r'[^0-9a-z.]+', '-', bank)}.png"


def by_class(pixels: Tensor, labels: Tensor) -> Tensor:
    """The first pictures of the first classes, a row for each. Shape: uint8 ``(N, 3, H, W)`` to ``(3, height, width)``."""
    rows = [pixels[labels == label][:COLUMNS] for label in labels.unique()[:ROWS]]
    columns = max(map(len, rows))
    return sheet(
        torch.cat([F.pad(row, (0, 0, 0, 0, 0, 0, 0, columns - len(row)), value=WHITE) for row in rows]), columns
    )


def sheet(pixels: Tensor, columns: int = COLUMNS) -> Tensor:
    """Pictures in rows, small ones enlarged pixel by pixel. Shape: uint8 ``(N, 3, H, W)`` to ``(3, height, width)``."""
    times = -(-SIDE // pixels.shape[-1])
    large = pixels.repeat_interleave(times, 2).repeat_interleave(times, 3)
    rows = -(-len(large) // columns)
    large = F.pad(large, (0, GAP, 0, GAP, 0, 0, 0, rows * columns - len(large)), value=WHITE)
    height, width = large.shape[-2:]
    whole = (
        large.view(rows, columns, 3, height, width).permute(2, 0, 3, 1, 4).reshape(3, rows * height, columns * width)
    )
    return whole[:, :-GAP, :-GAP]


def png(picture: Tensor) -> bytes:
    """A picture as a file. Shape: uint8 ``(3, H, W)``."""
    return Coding("png").encode(picture)
