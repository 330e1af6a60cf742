"""Folders of image files."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import torch

from renorm.data.decode import Blobs, prepare
from renorm.data.images import Images
from renorm.data.splits import USUAL, choose, indices_of

SUFFIXES = {".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif", ".ppm", ".pgm", ".tif", ".tiff"}


@dataclass(frozen=True)
class Files(Blobs):
    """Image files."""

    paths: list[Path]

    def __len__(self) -> int:
        return len(self.paths)

    def read(self, i: int) -> bytes:
        return self.paths[i].read_bytes()

    def name(self, i: int) -> str:
        return str(self.paths[i])


def load_folder(folder: Path, split: str, *, size: int | None = None, holdout: float = 0.0) -> Images:
    """Image files in one folder per class, or all in one folder without labels.

    Folders called ``train``, ``test`` and the like above the classes are the splits; the classes are those of all
    splits together, so that indices agree. Without such folders the whole is every split, or is divided by ``holdout``.
    """
    chosen = choose(str(folder), split, split_names(folder), holdout)
    root = folder / chosen if chosen else folder
    roots = [folder / name for name in split_names(folder)] if chosen else [folder]
    classes = sorted({path.name for each in roots for path in subfolders(each)})
    labelled = [(path, i) for i, name in enumerate(classes) for path in image_files(root / name, "**/*")]
    loose = [(path, -1) for path in image_files(root, "*")]
    if labelled and loose:
        raise ValueError(
            f"{root} has {len(labelled)} images in subfolders and {len(loose)} beside them ({loose[0][0].name}, ...). "
            "One folder per class, or one folder without subfolders, is needed. Move the loose images."
        )
    if not labelled and not loose:
        raise ValueError(
            f"{root} has no images. Files ending in {', '.join(sorted(SUFFIXES))}, best in one subfolder per class, "
            "are needed. Check the path."
        )
    files, numbers = zip(*(labelled or loose), strict=True)
    labels = torch.tensor(numbers)
    indices = indices_of(labels, split, 0.0 if chosen else holdout)
    pixels = prepare(Files(list(files)), size, indices)
    below = [path.relative_to(root).parts[1 if labelled else 0 :] for path in map(files.__getitem__, indices.tolist())]
    names = ["/".join(parts) for parts in below]
    return Images(str(root), pixels, labels[indices], classes if labelled else [], files=names)


def split_names(folder: Path) -> list[str]:
    return [path.name for path in subfolders(folder) if path.name in USUAL]


def subfolders(folder: Path) -> list[Path]:
    if not folder.is_dir():
        return []
    return sorted(path for path in folder.iterdir() if path.is_dir() and not path.name.startswith("."))


def image_files(folder: Path, pattern: str) -> Iterable[Path]:
    return sorted(path for path in folder.glob(pattern) if path.suffix.lower() in SUFFIXES)
