"""Parquet with columns ``corruption`` and ``severity``."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from renorm.data import (
    LABELS,
    Blobs,
    Encoded,
    Images,
    categories,
    concatenate,
    image_name,
    natural_size,
    parquet_files,
    undamaged,
)
from renorm.extras import require
from renorm.shifts.manifest import ImagesByShift, Manifest

KEYS = ("corruption", "severity")


@dataclass(frozen=True)
class RowGroup:
    """A row group of a file, and where it begins among all rows."""

    file: Path
    number: int
    start: int


class TableRows(Blobs):
    """Encoded images of Parquet files, of which one row group is in memory at a time.

    Args:
        groups: in order.
        total: rows in all.
        column: of the images.
    """

    def __init__(self, groups: list[RowGroup], total: int, column: str) -> None:
        self.groups, self.total, self.column = groups, total, column
        self.starts = [group.start for group in groups]
        self.loaded: tuple[int, list[bytes]] = (-1, [])

    def __len__(self) -> int:
        return self.total

    def read(self, i: int) -> bytes:
        number = bisect_right(self.starts, i) - 1
        if self.loaded[0] != number:
            self.loaded = number, self._load(self.groups[number])
        return self.loaded[1][i - self.starts[number]]

    def name(self, i: int) -> str:
        group = self.groups[bisect_right(self.starts, i) - 1]
        before = next(each.start for each in self.groups if each.file == group.file)
        return f"row {i - before} of {group.file}"

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"loaded": (-1, [])}

    def _load(self, group: RowGroup) -> list[bytes]:
        column = open_parquet(group.file).read_row_group(group.number, columns=[self.column]).column(0).to_pylist()
        return [(value["bytes"] if isinstance(value, dict) else value) or b"" for value in column]


def read_tables(path: Path, manifest: Manifest | None, size: int | None) -> ImagesByShift | None:
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
    table = concatenate([_small_columns(file) for file in files], path)
    labels, classes = categories(table, next((name for name in LABELS if name in table.column_names), None), path)
    classes = manifest.classes if manifest else classes
    rows = TableRows(list(_groups(files)), len(table), image_name(schema, path))
    return {
        cell: _images(f"{path}:{cell[0]}:{cell[1]}", rows, order, (labels, classes), manifest, size)
        for cell, order in _cells(table, path).items()
    }


def open_parquet(file: Path) -> Any:
    """A Parquet file, of which nothing but the description is read.

    Raises:
        ValueError: it is damaged.
    """
    with undamaged(file):
        return require("pyarrow.parquet").ParquetFile(file)


def _small_columns(file: Path) -> Any:
    wanted = open_parquet(file)
    return wanted.read(columns=[name for name in wanted.schema_arrow.names if name in (*KEYS, *LABELS)])


def _groups(files: list[Path]) -> Iterator[RowGroup]:
    start = 0
    for file in files:
        description = open_parquet(file).metadata
        for number in range(description.num_row_groups):
            yield RowGroup(file, number, start)
            start += description.row_group(number).num_rows


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
    rows: TableRows,
    order: list[int],
    categories: tuple[Any, list[str]],
    manifest: Manifest | None,
    size: int | None,
) -> Images:
    labels, classes = categories
    indices = torch.tensor(order)
    written = (manifest.width, manifest.height) if manifest else None
    scaled = (size, size) if size else written or natural_size(rows, order[0])
    return Images(name, Encoded(rows, indices, scaled), labels[indices], classes)
