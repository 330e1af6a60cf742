"""Parquet files of images in the Hugging Face layout."""

from __future__ import annotations

import json
import re
from bisect import bisect_right
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Any

import torch
from torch import Tensor

from renorm.data.decode import Blobs, prepare
from renorm.data.images import Images
from renorm.data.splits import choose, indices_of
from renorm.extras import require

LABELS = ("label", "labels", "fine_label")  # the last is CIFAR-100's


@dataclass(frozen=True)
class Column(Blobs):
    """A column of encoded images over one or more files, each of which begins at a row."""

    encoded: Any
    files: list[Path]
    starts: list[int]

    def __len__(self) -> int:
        return len(self.encoded)

    def read(self, i: int) -> bytes:
        return self.encoded[i].as_py() or b""

    def name(self, i: int) -> str:
        file = bisect_right(self.starts, i) - 1
        return f"row {i - self.starts[file]} of {self.files[file]}"


def load_parquet(path: Path, split: str, *, size: int | None = None, holdout: float = 0.0) -> Images:
    """A Parquet file, or a folder of them: columns ``{image: {bytes, path}, label, domain}``, the last two optional.

    In a folder a split is the files called after it, ``train.parquet`` or ``train-00000-of-00002.parquet``. A single
    file, or files that are not called after splits, are every split, or are divided by ``holdout``.
    """
    files = {file: re.sub(r"-\d+-of-\d+$", "", file.stem) for file in parquet_files(path)}
    chosen = choose(str(path), split, files.values(), holdout) if path.is_dir() else None
    if path.is_file():
        choose(str(path), split, [], holdout)
    paths = [file for file, name in files.items() if chosen in (None, name)]
    tables = [read_table(file) for file in paths]
    table = concatenate(tables, path)
    starts = [sum(map(len, tables[:i])) for i in range(len(tables))]
    blobs = Column(image_column(table, path), paths, starts)
    labels, classes = categories(table, next((name for name in LABELS if name in table.column_names), None), path)
    indices = indices_of(labels, split, 0.0 if chosen else holdout)
    name = f"{path} ({chosen})" if chosen else str(path)
    images = Images(
        name, prepare(blobs, size, indices), labels[indices], classes, files=file_names(table, path, indices)
    )
    if "domain" not in table.column_names:
        return images
    return with_domains(images, *categories(table, "domain", path), indices)


def with_domains(images: Images, domain: Tensor, names: list[str], indices: Tensor) -> Images:
    """The images with the domains that are present among them, in the order of the data's list."""
    present, domain = domain[indices].unique(return_inverse=True)
    return replace(images, domain=domain, domains=[names[i] for i in present.tolist()])


def parquet_files(path: Path) -> list[Path]:
    return [path] if path.is_file() else sorted(path.rglob("*.parquet"))


@contextmanager
def undamaged(file: Path) -> Iterator[None]:
    """Say in words that a Parquet file is damaged, where reading it finds so.

    Raises:
        ValueError: it is.
    """
    try:
        yield
    except (require("pyarrow").ArrowException, OSError) as error:
        raise ValueError(
            f"{file} ({file.stat().st_size} bytes) cannot be read ({str(error).partition(chr(10))[0]}). "
            "A whole Parquet file is needed. Copy or download it again."
        ) from error


def read_table(file: Path) -> Any:
    parquet = require("pyarrow.parquet")
    with undamaged(file):
        table = parquet.read_table(file, partitioning=None)
    if not len(table):
        raise ValueError(f"{file} has no rows. A Parquet file with images is needed. Take it out or replace it.")
    return table


def concatenate(tables: list[Any], path: Path) -> Any:
    """One table; files of one data set must agree in their columns."""
    arrow = require("pyarrow")
    try:
        return arrow.concat_tables(tables)
    except arrow.ArrowException as error:
        columns = " and ".join(sorted({", ".join(table.column_names) for table in tables}))
        raise ValueError(
            f"the Parquet files of {path} have different columns: {columns}. "
            "All files of a split need the same. Load them one by one, or put them into folders of their own."
        ) from error


def image_column(table: Any, path: Path) -> Any:
    """The encoded images."""
    column = table.column(image_name(table.schema, path))
    return struct_field(column, "bytes") if require("pyarrow").types.is_struct(column.type) else column


def file_names(table: Any, path: Path, indices: Tensor) -> list[str] | None:
    """The images' own file names, where each has one."""
    column = table.column(image_name(table.schema, path))
    if not require("pyarrow").types.is_struct(column.type) or column.type.get_field_index("path") < 0:
        return None
    paths = struct_field(column, "path").to_pylist()
    names = [PurePosixPath(paths[i] or "").name for i in indices.tolist()]
    return None if {"", ".."} & set(names) else names


def struct_field(column: Any, name: str) -> Any:
    """One field of a column of structs."""
    return require("pyarrow").chunked_array([chunk.field(name) for chunk in column.chunks])


def image_name(schema: Any, path: Path) -> str:
    """The first column of structs with ``bytes``, or of binary values."""
    types = require("pyarrow").types
    for field in schema:
        if types.is_struct(field.type) and field.type.get_field_index("bytes") >= 0:
            return field.name
        if types.is_binary(field.type) or types.is_large_binary(field.type):
            return field.name
    raise ValueError(
        f"{path} has no column of images; its columns are {', '.join(schema.names)}. "
        "A column of {bytes, path} structs, as Hugging Face writes them, is needed. "
        "Save the data set with its images embedded."
    )


def categories(table: Any, name: str | None, path: Path) -> tuple[Tensor, list[str]]:
    """A column of classes as int64 numbers and their names; -1 and no names where there is no such column."""
    if name is None:
        return torch.full((len(table),), -1), []
    arrow = require("pyarrow")
    kind, values = table.schema.field(name).type, table.column(name).to_pylist()
    if arrow.types.is_string(kind) or arrow.types.is_large_string(kind):
        names = sorted({value for value in values if value is not None})
        number = {value: i for i, value in enumerate(names)}
        return torch.tensor([number.get(value, -1) for value in values]), names
    if not arrow.types.is_integer(kind):
        raise ValueError(
            f"the column {name!r} of {path} holds {kind}. Whole numbers or names are needed. "
            "Write one class per image, or leave the column out."
        )
    numbers = torch.tensor([-1 if value is None else value for value in values])
    names = class_names(table, name) or [str(i) for i in range(int(numbers.max()) + 1)]
    if int(numbers.max()) >= len(names):
        raise ValueError(
            f"the column {name!r} of {path} holds {int(numbers.max())}, but names only {len(names)} classes. "
            "Numbers below that are needed. Correct the numbers, or the names in the file's metadata."
        )
    return numbers, names


def class_names(table: Any, name: str) -> list[str]:
    """What Hugging Face's metadata call the classes of a column."""
    metadata = json.loads((table.schema.metadata or {}).get(b"huggingface", b"{}"))
    return metadata.get("info", {}).get("features", {}).get(name, {}).get("names", [])
