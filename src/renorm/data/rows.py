"""Encoded images in Parquet files, of which a few row groups are in memory at a time."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from renorm.data.blobs import Blobs
from renorm.data.picture import UnreadableImageError
from renorm.extras import require
from renorm.files import check_readable

KEPT_BYTES = 2**28  # of row groups that are in memory
GROUP_BYTES = 2**30  # of one row group, at most: it is read as a whole


@dataclass(frozen=True)
class RowGroup:
    """A row group of a file, and where it begins among all rows."""

    file: Path
    number: int
    start: int


class ParquetImages(Blobs):
    """A column of encoded images over one or more files.

    Args:
        files: in order.
        column: its name.

    Raises:
        ValueError: a file is damaged, or its row groups are too large to be read one at a time.
    """

    def __init__(self, files: Sequence[Path], column: str) -> None:
        self.column = column
        self.groups: list[RowGroup] = []
        self.total = 0
        for file in files:
            self._add(file)
        self.starts = [group.start for group in self.groups]
        self.kept: dict[int, Any] = {}

    def _add(self, file: Path) -> None:
        opened = open_parquet(file)
        if self.column not in opened.schema_arrow.names:
            raise ValueError(
                f"{file} has no column {self.column}, where other files have the images; it has "
                f"{', '.join(opened.schema_arrow.names)}. All files of a split need the same. Load them one by one."
            )
        description = opened.metadata
        for number in range(description.num_row_groups):
            group = description.row_group(number)
            if group.total_byte_size > GROUP_BYTES:
                raise ValueError(
                    f"{file} has a row group of {group.total_byte_size / 2**30:.1f} GB: at most 1 GB is needed, as each is read "
                    "as a whole. Write it again in smaller ones: pyarrow.parquet.write_table(table, file, row_group_size=100)."
                )
            self.groups.append(RowGroup(file, number, self.total))
            self.total += group.num_rows

    def __len__(self) -> int:
        return self.total

    def read(self, i: int) -> bytes:
        number = bisect_right(self.starts, i) - 1
        with undamaged(self.groups[number].file):
            value = self._group(number)[i - self.starts[number]].as_py()
        data, path = (value.get("bytes"), value.get("path")) if isinstance(value, dict) else (value, None)
        if not data or not isinstance(data, bytes):
            raise UnreadableImageError(_without_bytes(path))
        return data

    def name(self, i: int) -> str:
        group = self.groups[bisect_right(self.starts, i) - 1]
        before = next(each.start for each in self.groups if each.file == group.file)
        return f"row {i - before} of {group.file}"

    def _group(self, number: int) -> Any:
        if number not in self.kept:
            values = self._load(self.groups[number])
            while self.kept and sum(each.nbytes for each in self.kept.values()) + values.nbytes > KEPT_BYTES:
                del self.kept[next(iter(self.kept))]  # the oldest
            self.kept[number] = values
        return self.kept[number]

    def _load(self, group: RowGroup) -> Any:
        with undamaged(group.file):
            # Without threads, as a process that was forked has none.
            table = open_parquet(group.file).read_row_group(group.number, columns=[self.column], use_threads=False)
            return table.column(0).combine_chunks()

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"kept": {}}


def open_parquet(file: Path) -> Any:
    """A Parquet file, of which nothing but the description is read.

    Raises:
        ValueError: it is damaged.
    """
    check_readable(file)
    with undamaged(file):
        opened = require("pyarrow.parquet").ParquetFile(file)
        _ = opened.schema_arrow  # damage of the types is found here
        return opened


def read_columns(file: Path, names: Sequence[str]) -> Any:
    """Some columns of a file, or fields of them as ``image.path``; those that are not there are left out.

    Raises:
        ValueError: it is damaged.
    """
    opened = open_parquet(file)
    with undamaged(file):
        there = opened.schema_arrow.names
        return opened.read(columns=[name for name in names if name.partition(".")[0] in there], use_threads=False)


@contextmanager
def undamaged(file: Path) -> Iterator[None]:
    """Say in words that a Parquet file is damaged, where reading it finds so.

    Raises:
        ValueError: it is.
    """
    try:
        yield
    except (require("pyarrow").ArrowException, OSError, UnicodeDecodeError, OverflowError) as error:
        raise ValueError(
            f"{file} ({file.stat().st_size} bytes) cannot be read ({str(error).partition(chr(10))[0]}). "
            "A whole Parquet file is needed. Copy or download it again."
        ) from error


def _without_bytes(path: str | None) -> str:
    if not path:
        return "it has neither bytes nor a path"
    return (
        f"it has no bytes, only the path {path}: save the data with its images embedded, "
        "ds.with_format('arrow').map(datasets.table.embed_table_storage, batched=True).to_parquet(FILE)"
    )
