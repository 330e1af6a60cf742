"""ImageNet-C's layout: a folder of each corruption, in it one of each severity, in it one of each class."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch

from renorm.corruptions import CORRUPTIONS, SEVERITIES
from renorm.data import KINDS, Files, Frame, Images, encode_lazily, is_image, is_left_behind, subfolders
from renorm.shifts.manifest import ImagesByShift, Manifest

NUMBERS = {str(severity): severity for severity in SEVERITIES}


@dataclass(frozen=True)
class Folders:
    """Folders of classes by corruption and severity, and where they lie; single where one severity alone was given."""

    path: Path
    cells: dict[tuple[str, int], Path]
    single: bool = False


def corruption_folders(path: Path) -> Folders | None:
    """Where the corruptions of a folder are: below it, one level deeper in groups (blur, noise, ...), or the folder itself,
    one corruption or one severity of it.
    """
    if path.name in NUMBERS and path.absolute().parent.name in CORRUPTIONS and any(subfolders(path)):
        return Folders(path, {(path.absolute().parent.name, NUMBERS[path.name]): path}, single=True)
    if severities(path):
        return Folders(path.parent, {(path.resolve().name, severity): folder for severity, folder in severities(path)})
    groups = [path, *subfolders(path)]
    for candidates in (subfolders(path), [below for group in groups[1:] for below in subfolders(group)]):
        cells = {(each.name, severity): folder for each in candidates for severity, folder in severities(each)}
        if cells:
            return Folders(path, cells)
    return None


def severities(folder: Path) -> list[tuple[int, Path]]:
    """Severities of a corruption: subfolders 1 to 5 that have subfolders."""
    return [(NUMBERS[each.name], each) for each in subfolders(folder) if each.name in NUMBERS and any(subfolders(each))]


def read_class_folders(folders: Folders, manifest: Manifest | None, frame: Frame | None) -> ImagesByShift:
    """Images by corruption and severity; files are read when asked for.

    Raises:
        ValueError: there are no images, or severities or images of some are missing.
    """
    names = {cell: list(image_names(str(folder))) for cell, folder in folders.cells.items()}
    empty = [folders.cells[cell] for cell, each in names.items() if not each]
    if empty:
        raise ValueError(
            f"{empty[0]} has no images. {KINDS}, in one folder per class, are needed. Extract or copy it again."
        )
    if manifest is None and not folders.single:
        check_alike({cell: len(each) for cell, each in names.items()}, folders.path)
    classes = manifest.classes if manifest else sorted({_class(name) for each in names.values() for name in each})
    return {cell: _images(str(folders.cells[cell]), names[cell], classes, manifest, frame) for cell in names}


def check_alike(numbers: Mapping[tuple[str, int], int], path: Path) -> None:
    """Refuse a benchmark in which severities are missing, or images of some severities.

    Raises:
        ValueError: a corruption has not all five severities, or not as many images in each as there are elsewhere.
    """
    severities: dict[str, list[int]] = {}
    for name, severity in sorted(numbers):
        severities.setdefault(name, []).append(severity)
    for name, there in severities.items():
        if there != list(SEVERITIES):
            raise ValueError(
                f"{path} has severities {', '.join(map(str, there))} of {name}: all of {SEVERITIES} are needed for its mean. "
                f"Add the others, or give one severity alone, {path / name / str(there[0])}."
            )
    usual = max(numbers.values())
    fewer = [(name, severity) for (name, severity), number in numbers.items() if number != usual]
    if fewer:
        name, severity = fewer[0]
        raise ValueError(
            f"{path} has {numbers[fewer[0]]} images of {name} {severity} and {usual} of others: the same images are needed in "
            "every corruption and severity. Extract or copy it again."
        )


def image_names(folder: str, below: str = "") -> Iterator[str]:
    """Names of the image files in the classes' folders, ``n01440764/ILSVRC2012_val_00000293.JPEG``."""
    with os.scandir(os.path.join(folder, below)) as entries:
        for entry in entries:
            name = f"{below}/{entry.name}" if below else entry.name
            if entry.is_dir() and not is_left_behind(entry.name):
                yield from image_names(folder, name)
            elif below and is_image(entry.name):
                yield sys.intern(name)  # the same 50,000 names in each of 95 folders


def _images(
    folder: str, names: list[str], classes: list[str], manifest: Manifest | None, frame: Frame | None
) -> Images:
    number = {name: i for i, name in enumerate(classes)}
    unknown = next((name for name in names if _class(name) not in number), None)
    if unknown is not None:
        raise ValueError(
            f"{folder} has a class {_class(unknown)!r} that its manifest does not name. Folders called after the classes are "
            "needed. Take it out."
        )
    names = sorted(names, key=lambda name: (number[_class(name)], name))
    labels = torch.tensor([number[_class(name)] for name in names])
    pixels = encode_lazily(Files(folder, names), frame or (manifest and manifest.frame), torch.arange(len(names)))
    files = [name.partition("/")[2] for name in names]
    return Images(folder, pixels, labels, classes, files=files)


def _class(name: str) -> str:
    return name.partition("/")[0]
