"""Shifts that are stored: published corruption benchmarks, other collections of the same classes, our own copies."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from renorm.corruptions import CORRUPTIONS
from renorm.data import (
    Frame,
    Images,
    Preprocessing,
    array_files,
    evaluation_split,
    has_images,
    is_pair,
    load,
    matched,
    preprocessing_of,
    sample,
    square,
    subfolders,
)
from renorm.shifts.arrays import read_arrays
from renorm.shifts.folders import corruption_folders, read_class_folders
from renorm.shifts.manifest import ImagesByShift, Manifest, check_complete, check_finished, read_manifest
from renorm.shifts.shift import Shift
from renorm.shifts.tables import read_tables

LAYOUTS = (
    "CORRUPTION.npy with labels.npy (CIFAR-10-C, CIFAR-100-C), folders CORRUPTION/SEVERITY/CLASS/IMAGE (ImageNet-C, "
    "Tiny-ImageNet-C), folders CLASS/IMAGE (ImageNet-A, -R, -V2, -Sketch), Parquet with an image column, or what "
    "`renorm corrupt` writes"
)


@dataclass(frozen=True)
class StoredShift(Shift):
    """Images that are a shift as they are; a shift's other arguments are those of :class:`Shift`.

    Args:
        images: with labels relative to ``outputs``; read from disk when asked for.
    """

    images: Images = field(kw_only=True, compare=False)


def read_shifts(
    path: str | Path,
    *,
    classes: Sequence[str] = (),
    size: int | None = None,
    model: Any = None,
    num_images: int = 0,
    seed: int = 0,
) -> list[StoredShift]:
    """Read a folder of shifted images, whatever its layout.

    Recognized are CIFAR-10-C and CIFAR-100-C (arrays with labels), ImageNet-C and Tiny-ImageNet-C (folders of a corruption,
    a severity, a class; a single corruption or severity too), ImageNet-A, -R, -V2 and -Sketch and any other folder of
    classes, Parquet files in the Hugging Face layout, and what ``renorm corrupt`` writes. Corruptions come in their
    published order, each with its severities.

    Args:
        path: the folder, or one ``.npy`` or ``.parquet`` file of it.
        classes: names of the model's outputs in order, to find a data set's classes among them; without them, folders
            called after WordNet ids are taken for classes of ImageNet's 1,000, whose list timm has.
        size: side in pixels to scale and cut images to; by default small images keep their size and larger ones become
            224, unless a manifest says what was written. Arrays have their size.
        model: whose input they become, in place of a size, as :func:`renorm.data.preprocessing_of` takes it.
        num_images: draw so many of each; 0 for all.
        seed: of the draw, which takes the same ones of every severity.

    Raises:
        FileNotFoundError: there is no such path.
        ValueError: the layout is none of these, or images, severities or labels are missing or damaged, or the classes
            are not the model's.
        ImportError: a library that is needed is missing.
    """
    path = Path(path)
    if not path.exists():
        raise FileNotFoundError(f"there is nothing at {path}. One of these is needed: {LAYOUTS}. Check the path.")
    manifest = manifest_of(path)
    check_finished(path)
    frame = square(size) if model is None else preprocessing_of(model).frame
    cells = read_cells(path, manifest, classes, frame)
    if manifest is not None:
        check_complete(cells or {}, manifest, path)
    if cells is None:
        cells = {(path.stem if path.is_file() else path.resolve().name, 0): _whole(path, frame)}
    shifts = []
    for (name, severity), everything in sorted(cells.items(), key=lambda item: (*_rank(item[0][0]), item[0][1])):
        images, outputs = matched(everything, classes)
        images = sample(images, num_images, seed) if 0 < num_images < len(images) else images
        shifts.append(StoredShift(name, severity, seed, images=images, outputs=outputs))
    return shifts


def manifest_of(path: Path) -> Manifest | None:
    """What the folder, or the one that it is a part of, says that it holds."""
    folders = [path, *path.absolute().parents[:2]] if path.is_dir() else path.absolute().parents[:2]
    return next((manifest for folder in folders if (manifest := read_manifest(folder)) is not None), None)


def read_cells(
    path: Path, manifest: Manifest | None, classes: Sequence[str], frame: Frame | None
) -> ImagesByShift | None:
    """Images by corruption and severity; None where the layout has no such parts."""
    if (path.suffix == ".npy" or any(path.glob("*.npy"))) and not is_pair(path):
        return read_arrays(path, manifest, classes, frame)
    if is_parquet(path):
        return read_tables(path, manifest, frame)
    folders = corruption_folders(path)
    return read_class_folders(folders, manifest, frame) if folders else None


def is_parquet(path: Path) -> bool:
    """Whether a path is a Parquet file, or a folder of some, perhaps one folder further down."""
    return path.suffix == ".parquet" or any(path.glob("*.parquet")) or any(path.glob("*/*.parquet"))


def _whole(path: Path, frame: Frame | None) -> Images:
    """A data set without corruptions: all of it is one shift."""
    if is_parquet(path) or array_files(path) or (path.is_dir() and has_images(path)):
        return load(path, evaluation_split(path), model=frame and Preprocessing(frame))
    raise ValueError(
        f"{path} is {_content(path)}, which is no layout of shifted images that is known. One of these is needed: "
        f"{LAYOUTS}. Give the folder itself, and extract archives first."
    )


def _content(path: Path) -> str:
    if path.is_file():
        return f"a file *{path.suffix}"
    folders = [folder.name for folder in subfolders(path)]
    kinds = Counter(file.suffix or file.name for file in path.iterdir() if file.is_file())
    parts = (
        [f"{len(folders)} folders ({', '.join(folders[:4])}{', ...' if len(folders) > 4 else ''})"] if folders else []
    )
    parts += [f"{number} files *{kind}" for kind, number in kinds.most_common(3)]
    return f"a folder of {' and '.join(parts)}" if parts else "an empty folder"


def _rank(name: str) -> tuple[int, str]:
    names = list(CORRUPTIONS)
    return (names.index(name) if name in names else len(names), name)
