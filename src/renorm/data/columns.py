"""Columns of Parquet files: which are the images, the classes, the domains."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from unicodedata import normalize

import torch
from torch import Tensor

from renorm.extras import require

LABELS = ("label", "labels", "fine_label", "cls")  # the third is CIFAR-100's, the last webdataset's
IMAGES = ("image", "img")  # where there are several


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


def image_name(schema: Any, path: Path) -> str:
    """The column of images: of structs with ``bytes`` or else of binary values; of several the one called ``image``.

    Raises:
        ValueError: there is none, or no telling which.
    """
    types = require("pyarrow").types
    structs = [field.name for field in schema if types.is_struct(field.type) and _holds_bytes(field.type)]
    binary = [field.name for field in schema if types.is_binary(field.type) or types.is_large_binary(field.type)]
    found = structs or binary
    named = [name for name in found if name in IMAGES] or found
    if len(named) == 1:
        return named[0]
    if named:
        raise ValueError(
            f"{path} has several columns of images: {', '.join(named)}. One, or one called image, is needed. Leave the others "
            "out: pyarrow.parquet.read_table(file, columns=[...])."
        )
    raise ValueError(
        f"{path} has no column of images; its columns are {', '.join(schema.names)}. "
        "A column of {bytes, path} structs, as Hugging Face writes them, is needed. "
        "Save the data set with its images embedded."
    )


def _holds_bytes(struct: Any) -> bool:
    types, place = require("pyarrow").types, struct.get_field_index("bytes")
    kind = struct.field(place).type if place >= 0 else None
    return kind is not None and (types.is_binary(kind) or types.is_large_binary(kind) or types.is_null(kind))


def label_name(schema: Any) -> str | None:
    """The column of classes, if there is one."""
    return next((name for name in LABELS if name in schema.names), None)


def has_paths(schema: Any, column: str) -> bool:
    """Whether images have the names of files."""
    kind = schema.field(column).type
    return require("pyarrow").types.is_struct(kind) and kind.get_field_index("path") >= 0


def categories(table: Any, name: str | None, path: Path) -> tuple[Tensor, list[str]]:
    """A column of classes as int64 numbers and their names; -1 and no names where there is no such column."""
    if name is None:
        return torch.full((len(table),), -1), []
    types, column = require("pyarrow").types, table.column(name)
    if types.is_dictionary(column.type):
        column = column.cast(column.type.value_type)
    values = column.to_pylist()
    if types.is_string(column.type) or types.is_large_string(column.type):
        values = [None if value is None else normalize("NFC", value) for value in values]
        names = sorted({value for value in values if value is not None})
        number = {value: i for i, value in enumerate(names)}
        return torch.tensor([number.get(value, -1) for value in values]), names
    if not types.is_integer(column.type):
        raise ValueError(
            f"the column {name!r} of {path} holds {column.type}. Whole numbers or names are needed. "
            "Write one class per image, or leave the column out."
        )
    return _numbered([-1 if value is None else value for value in values], class_names(table, name), name, path)


def _numbered(values: list[int], names: list[str], name: str, path: Path) -> tuple[Tensor, list[str]]:
    if min(values) < -1 or max(values) > 2**31:
        raise ValueError(
            f"the column {name!r} of {path} holds numbers from {min(values)} to {max(values)}. Those of classes, from 0, are "
            "needed, or -1 where none is known. Correct them, or leave the column out."
        )
    numbers = torch.tensor(values)
    names = names or [str(i) for i in range(max(values) + 1)]
    if max(values) >= len(names):
        raise ValueError(
            f"the column {name!r} of {path} holds {max(values)}, but names only {len(names)} classes. "
            "Numbers below that are needed. Correct the numbers, or the names in the file's metadata."
        )
    return numbers, names


def class_names(table: Any, name: str) -> list[str]:
    """What Hugging Face's metadata call the classes of a column; nothing where they say nothing that is understood."""
    try:
        found = json.loads((table.schema.metadata or {}).get(b"huggingface", b"{}"))
    except ValueError:
        return []
    for key in ("info", "features", name, "names"):
        found = found.get(key, {}) if isinstance(found, Mapping) else {}
    if not isinstance(found, list) or not all(isinstance(each, str) for each in found):
        return []
    return [normalize("NFC", each) for each in found]
