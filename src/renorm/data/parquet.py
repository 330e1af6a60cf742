"""Parquet files of images in the Hugging Face layout."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import Any

from torch import Tensor

from renorm.data.columns import (
    categories,
    check_alike,
    class_names,
    concatenate,
    has_paths,
    image_name,
    label_name,
    tell_unlabelled,
)
from renorm.data.decode import undecoded
from renorm.data.formats import is_left_behind
from renorm.data.images import Images
from renorm.data.origin import Origin
from renorm.data.rows import ParquetImages, open_parquet, read_columns, undamaged
from renorm.data.splits import check_whole, choose, indices_of, kind_of, kind_within
from renorm.notice import notice

SHARD = re.compile(r"-(\d{2,})-of-(\d{2,}).*$")


def load_parquet(path: Path, split: str | None, *, holdout: float = 0.0, labels: bool = True) -> Images:
    """A Parquet file, or a folder of them: columns ``{image: {bytes, path}, label, domain}``, the last two optional.

    In a folder a split is the files that are called after it, or lie in a folder that is, as ``train.parquet``,
    ``data/train-00000-of-00002-HASH.parquet``, ``default/train/0000.parquet``. Other files are one whole.
    """
    files, divided = files_of(path, split, holdout)
    schema = open_parquet(files[0]).schema_arrow
    if not sum(open_parquet(file).metadata.num_rows for file in files):
        raise ValueError(f"{files[0]} has no rows. A Parquet file with images is needed. Take it out or replace it.")
    column, label = image_name(schema, path), label_name(schema) if labels else None
    if labels and label is None:
        tell_unlabelled(schema, column, path)
    wanted = [name for name in (f"{column}.path" if has_paths(schema, column) else None, label, "domain") if name]
    tables = [read_columns(file, wanted) for file in files]
    blobs = ParquetImages(files, column)
    table = concatenate(tables, path)
    with undamaged(path):
        beside = _beside(path, files, label) if label else []
        numbers, classes = categories(table if len(table) else range(len(blobs)), label, path, beside)
        indices = indices_of(numbers, split, 0.0 if divided else holdout)
        names = file_names(table, column, indices)
        name = f"{path} ({split or 'train'})" if divided else str(path)
        origin = Origin("", labels=f"the column {label}" if label else "")
        images = Images(name, undecoded(blobs, indices), numbers[indices], classes, files=names, origin=origin)
        return with_domains(images, table, path, indices) if "domain" in table.column_names else images


def _beside(path: Path, files: Sequence[Path], label: str) -> list[Any]:
    """The classes of the data's other files, as those of all splits are numbered together.

    Raises:
        ValueError: the files call their classes otherwise.
    """
    every = parquet_files(path)
    schemas = {file: open_parquet(file).schema_arrow for file in (*files, *every)}
    check_alike(schemas, label)
    if class_names(schemas[files[0]], label):
        return []
    return [read_columns(file, [label]) for file in every if file not in files and label in schemas[file].names]


def files_of(path: Path, split: str | None, holdout: float) -> tuple[list[Path], bool]:
    """The files of a split, and whether the data are divided into such.

    Raises:
        ValueError: there is no such split, or it cannot be told.
    """
    parts = parts_of(path)
    names = {str(file.relative_to(path)): kind for file, kind in parts.items()}
    stems = {_stem(file): _stem(file) for file in parquet_files(path)}
    if not parts and split not in stems:
        own = kind_within(path.stem) if path.is_file() else kind_of(path.resolve().name)
        check_whole(str(path), own, split, holdout)
        return parquet_files(path), False
    if path.is_file():
        return [path], False
    if split in stems and split not in names.values():
        choose(str(path), split, stems, holdout)
        return _alike([file for file in parquet_files(path) if _stem(file) == split], path), True
    kinds = {kind: kind for kind in sorted({*parts.values()})}
    (chosen,) = choose(str(path), split, kinds, holdout)
    return _alike([file for file, kind in parts.items() if kind == chosen], path), True


def parts_of(path: Path) -> dict[Path, str]:
    """The split that each file of a folder is of; nothing where none is called after one.

    Raises:
        ValueError: a file is called after two.
    """
    parts: dict[Path, str] = {}
    found = False
    for file in parquet_files(path) if path.is_dir() else ():
        *folders, _ = file.relative_to(path).parts
        kinds = {kind for kind in (*map(kind_of, folders), kind_within(_stem(file))) if kind}
        if len(kinds) > 1:
            raise ValueError(
                f"{file} is called after the splits {' and '.join(sorted(kinds))}: it must be one of them. Rename it, or load "
                "the folder that it is in."
            )
        found = found or bool(kinds)
        parts[file] = kinds.pop() if kinds else _stem(file)
    return parts if found else {}


def parquet_files(path: Path) -> list[Path]:
    """A file itself, or those of a folder, however deep, but none that systems leave behind."""
    if path.is_file():
        return [path]
    files = sorted(path.rglob("*.parquet"))
    return [file for file in files if not any(map(is_left_behind, file.relative_to(path).parts)) and file.is_file()]


def _stem(file: Path) -> str:
    return SHARD.sub("", file.stem)


def _alike(files: list[Path], path: Path) -> list[Path]:
    """The files of a split: of one configuration, and told how many of its parts are there.

    Raises:
        ValueError: there are several configurations.
    """
    parents = (file.relative_to(path).parts[:-1] for file in files)
    configurations = {tuple(name for name in names if kind_of(name) is None and name != "data") for names in parents}
    if len(configurations) > 1:
        names = ", ".join(sorted("/".join(names) or "." for names in configurations))
        raise ValueError(
            f"{path} has several data sets of one split, in {names}: one is needed. Give the folder of one, as "
            f"{path / '/'.join(max(configurations))}."
        )
    _tell_missing(files)
    return files


def _tell_missing(files: Sequence[Path]) -> None:
    there: dict[tuple[Path, str, int], set[int]] = defaultdict(set)
    for file in files:
        if found := SHARD.search(file.stem):
            there[file.parent, _stem(file), int(found[2])].add(int(found[1]))
    for (folder, stem, total), numbers in there.items():
        if len(numbers) < total:
            notice(f"{folder} has {len(numbers)} of the {total} files of {stem}: the others are missing.")


def with_domains(images: Images, table: Any, path: Path, indices: Tensor) -> Images:
    """The images with the domains that are present among them, in the order of the data's list."""
    numbers, names = categories(table, "domain", path)
    present, domain = numbers[indices].unique(return_inverse=True)
    return replace(images, domain=domain, domains=[names[i] for i in present.tolist()])


def file_names(table: Any, column: str, indices: Tensor) -> list[str] | None:
    """The images' own file names, where each has one."""
    if column not in table.column_names:
        return None
    paths = table.column(column).to_pylist()
    given = [(paths[i] or {}).get("path") for i in indices.tolist()]
    names = [PurePosixPath(each).name if isinstance(each, str) else "" for each in given]
    return None if {"", ".."} & set(names) else names
