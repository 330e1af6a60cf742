"""What a folder holds: its images, and all else that is left out."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

from renorm.data.formats import HEIC, is_image, is_left_behind

REMEDIES = {
    **dict.fromkeys(HEIC, "Pillow does not read HEIC: convert them to JPEG"),
    ".tar": "datasets.load_dataset('webdataset', data_files='*.tar', split='train').to_parquet('train.parquet')",
    ".arrow": "datasets.load_from_disk(FOLDER).to_parquet('train.parquet')",
    **dict.fromkeys((".zip", ".tgz", ".gz", ".xz", ".bz2", ".7z", ".rar"), "extract them"),
    **dict.fromkeys((".npy", ".npz"), "arrays are read as NAME_data.npy with NAME_labels.npy"),
    **dict.fromkeys((".tfrecord", ".h5", ".hdf5", ".mat", ".pkl", ".mdb"), "write the images as files or as Parquet"),
}


def walk(folder: Path, left_out: Counter[str]) -> Iterator[str]:
    """Names of a folder's image files below it, in order; others are counted by their suffix."""
    yield from _walk(str(folder), "", left_out, frozenset({os.path.realpath(folder)}))


def _walk(folder: str, below: str, left_out: Counter[str], above: frozenset[str]) -> Iterator[str]:
    with os.scandir(os.path.join(folder, below)) as found:
        entries = sorted(found, key=lambda entry: entry.name)
    for entry in entries:
        name = f"{below}/{entry.name}" if below else entry.name
        if is_left_behind(entry.name):
            continue
        if entry.is_dir():
            place = os.path.realpath(entry.path)
            if place not in above:  # a link to a folder that it is in would go round for ever
                yield from _walk(folder, name, left_out, above | {place})
        elif is_image(entry.name):
            yield name
        else:
            left_out[os.path.splitext(entry.name)[1].lower() or entry.name] += 1


def subfolders(folder: Path) -> list[Path]:
    """Folders in a folder that are no system's, in order."""
    if not folder.is_dir():
        return []
    return sorted(path for path in folder.iterdir() if path.is_dir() and not is_left_behind(path.name))


def loose(folder: Path) -> list[Path]:
    """Image files that lie in a folder itself, in order."""
    return sorted(path for path in folder.iterdir() if is_image(path.name) and not path.is_dir())


def has_images(folder: Path) -> bool:
    """Whether there is an image below a folder."""
    return any(True for _ in walk(folder, Counter()))


def counted(left_out: Counter[str]) -> str:
    """How many files of each suffix, and what can be done about them.

    Example:
        >>> counted(Counter({".heic": 3, ".txt": 1}))
        '3 *.heic (Pillow does not read HEIC: convert them to JPEG), 1 *.txt'
    """
    parts = []
    for suffix, number in left_out.most_common(6):
        name = f"*{suffix}" if suffix.startswith(".") else suffix
        parts.append(f"{number:,} {name}{f' ({REMEDIES[suffix]})' if suffix in REMEDIES else ''}")
    more = sum(left_out.values()) - sum(number for _, number in left_out.most_common(6))
    return ", ".join([*parts, *([f"{more:,} others"] if more else [])])


def few(names: Sequence[str], most: int = 3) -> str:
    """The first of some names, and how many there are if there are more.

    Example:
        >>> few(["ant", "bee", "cat", "dog"]), few(["ant", "bee"])
        ('ant, bee, cat, ... (4)', 'ant, bee')
    """
    return ", ".join(names[:most]) + (f", ... ({len(names)})" if len(names) > most else "")
