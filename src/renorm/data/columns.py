"""Columns of Parquet files: which are the images, the classes, the domains."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from unicodedata import normalize

import torch
from torch import Tensor

from renorm.data.listing import few
from renorm.extras import require
from renorm.notice import notice

LABELS = ("label", "labels", "fine_label", "cls")  # the third is CIFAR-100's, the last webdataset's
READ = ("domain", "corruption", "severity")  # columns that mean something else
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


def tell_unlabelled(schema: Any, column: str, path: Path) -> None:
    """Tell that no column is taken for classes where some could have been meant.

    Args:
        schema: Without a column of classes.
        column: Of the images.
        path: Of the data.
    """
    types = require("pyarrow").types
    kinds = (types.is_integer, types.is_boolean, types.is_string, types.is_large_string, types.is_dictionary)
    fields = [each for each in schema if each.name not in (column, *READ)]
    others = [each.name for each in fields if any(could_be(each.type) for could_be in kinds)]
    if others:
        notice(
            f"{path} has no column of classes, called {', '.join(LABELS)}: its images are without labels, and its column"
            f"{'s' if len(others) > 1 else ''} {few(others)} {'are' if len(others) > 1 else 'is'} not read."
        )


def has_paths(schema: Any, column: str) -> bool:
    """Whether images have the names of files."""
    kind = schema.field(column).type
    return require("pyarrow").types.is_struct(kind) and kind.get_field_index("path") >= 0


def categories(table: Any, name: str | None, path: Path, beside: Sequence[Any] = ()) -> tuple[Tensor, list[str]]:
    """A column of classes as int64 numbers and their names; -1 and no names where there is no such column.

    Args:
        table: It has the column.
        name: Of the column, or None.
        path: Of the data, for messages.
        beside: Tables of the data's other parts, whose classes are counted together with these.

    Raises:
        ValueError: The column holds something else than numbers of classes or their names, or both.
    """
    if name is None:
        return torch.full((len(table),), -1), []
    values = _values(table, name, path)
    every = [*values, *(value for other in beside for value in _values(other, name, path))]
    words = {value for value in every if isinstance(value, str)}
    if not words:
        numbers = [-1 if value is None else value for value in every]
        found, names = _numbered(numbers, class_names(table.schema, name), name, path)
        return found[: len(values)], names
    if any(isinstance(value, int) for value in every):
        raise ValueError(
            f"the column {name!r} of {path} holds names in one file ({min(words)}) and numbers in another. One of both is "
            "needed, to tell which classes are the same. Write them alike."
        )
    names = sorted(words)
    number = {value: i for i, value in enumerate(names)}
    return torch.tensor([number.get(value, -1) for value in values]), names


def _values(table: Any, name: str, path: Path) -> list[Any]:
    """The numbers or names of a column, and None where there is none."""
    types, column = require("pyarrow").types, table.column(name)
    if types.is_dictionary(column.type):
        column = column.cast(column.type.value_type)
    values = column.to_pylist()
    if types.is_string(column.type) or types.is_large_string(column.type):
        return [None if value is None else normalize("NFC", value) for value in values]
    if not types.is_integer(column.type):
        raise ValueError(
            f"the column {name!r} of {path} holds {column.type}. Whole numbers or names are needed. "
            "Write one class per image, or leave the column out."
        )
    return values


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


def check_alike(schemas: Mapping[Path, Any], name: str) -> None:
    """Refuse files that name the classes of a column otherwise: their numbers would mean other classes.

    Raises:
        ValueError: So it is.
    """
    named = {tuple(names): file for file, schema in schemas.items() if (names := class_names(schema, name))}
    if len(named) > 1:
        (one, first), (other, second) = list(named.items())[:2]
        raise ValueError(
            f"{first} and {second} call the classes of the column {name!r} {few(one)} and {few(other)}: the same names in the "
            "same order are needed, as their numbers mean other classes. Write them with one list, or load them one by one."
        )


def class_names(schema: Any, name: str) -> list[str]:
    """What Hugging Face's metadata call the classes of a column; nothing where they say nothing that is understood."""
    try:
        found = json.loads((schema.metadata or {}).get(b"huggingface", b"{}"))
    except ValueError:
        return []
    for key in ("info", "features", name, "names"):
        found = found.get(key, {}) if isinstance(found, Mapping) else {}
    if not isinstance(found, list) or not all(isinstance(each, str) for each in found):
        return []
    return [normalize("NFC", each) for each in found]
