"""Parquet with columns ``corruption`` and ``severity``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from renorm.data import (
    LABELS,
    Frame,
    Images,
    ParquetImages,
    categories,
    concatenate,
    encode_lazily,
    image_name,
    label_name,
    open_parquet,
    parquet_files,
    read_columns,
)
from renorm.shifts.manifest import ImagesByShift, Manifest

KEYS = ("corruption", "severity")


def read_tables(path: Path, manifest: Manifest | None, frame: Frame | None) -> ImagesByShift | None:
    """Images by corruption and severity, decoded when asked for; None where the files have no such columns.

    Raises:
        ValueError: a file is damaged, or has one of the columns only, or has nothing in one.
    """
    files = parquet_files(path)
    schema = open_parquet(files[0]).schema_arrow
    there = [key for key in KEYS if key in schema.names]
    if not there:
        return None
    if len(there) < len(KEYS):
        raise ValueError(
            f"{files[0]} has a column {there[0]!r} and no {({*KEYS} - {*there}).pop()!r}: both are needed to tell the shifts "
            "apart. Add the column, or drop the other."
        )
    table = concatenate([read_columns(file, (*KEYS, *LABELS)) for file in files], path)
    labels, classes = categories(table, label_name(schema), path)
    classes = manifest.classes if manifest else classes
    rows = ParquetImages(files, image_name(schema, path))
    return {
        cell: _images(f"{path}:{cell[0]}:{cell[1]}", rows, order, (labels, classes), manifest, frame)
        for cell, order in _cells(table, path).items()
    }


def _cells(table: Any, path: Path) -> dict[tuple[str, int], list[int]]:
    cells: dict[tuple[str, int], list[int]] = {}
    pairs = zip(*(table.column(key).to_pylist() for key in KEYS), strict=True)
    for row, (corruption, severity) in enumerate(pairs):
        if not isinstance(corruption, str) or not isinstance(severity, int):
            raise ValueError(
                f"row {row} of {path} has corruption {corruption!r} and severity {severity!r}: a name and a whole number are "
                "needed. Write both for every image, 0 where there is no severity."
            )
        cells.setdefault((corruption, severity), []).append(row)
    return cells


def _images(
    name: str,
    rows: ParquetImages,
    order: list[int],
    categories: tuple[Any, list[str]],
    manifest: Manifest | None,
    frame: Frame | None,
) -> Images:
    labels, classes = categories
    indices = torch.tensor(order)
    pixels = encode_lazily(rows, frame or (manifest and manifest.frame), indices)
    return Images(name, pixels, labels[indices], classes)
