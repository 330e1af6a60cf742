"""Images and labels as two arrays of NumPy, ``NAME_data.npy`` and ``NAME_labels.npy``, as CIFAR-10.1 is distributed."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from renorm.data.images import Images
from renorm.data.splits import check_whole, indices_of, kind_within

DATA, LABELS = "_data.npy", "_labels.npy"
AGAIN = "Download or copy it again."


def array_files(path: Path) -> list[Path]:
    """The arrays of pixels at a path, itself or in a folder."""
    if path.is_file():
        return [path] if path.suffix == ".npy" else []
    return sorted(path.glob(f"*{DATA}"))


def is_pair(path: Path) -> bool:
    """Whether a path is an array of pixels that has one of labels beside it, or holds such a pair."""
    found = array_files(path)
    return bool(found) and found[0].name.endswith(DATA)


def load_arrays(path: Path, split: str | None, *, holdout: float = 0.0) -> Images:
    """Pixels uint8 ``(N, H, W, 3)`` and whole numbers ``(N,)``, the classes, which have no names.

    Raises:
        ValueError: there are several arrays, no labels, or arrays of another shape or type.

    Reference: Recht et al., *Do CIFAR-10 Classifiers Generalize to CIFAR-10?*, 2018.
    """
    found = array_files(path)
    if len(found) != 1 or not found[0].name.endswith(DATA):
        raise ValueError(
            f"{path} is {len(found)} arrays ({', '.join(file.name for file in found[:3])}): one of the name NAME{DATA}, with "
            f"NAME{LABELS} beside it, is needed. Give that file."
        )
    check_whole(str(path), kind_within(found[0].name), split, holdout)
    labels_file = found[0].with_name(found[0].name.replace(DATA, LABELS))
    if not labels_file.is_file():
        raise ValueError(f"{found[0]} has no {labels_file.name} beside it: the class of every image is needed. {AGAIN}")
    pixels, numbers = open_array(found[0]), open_array(labels_file)
    if pixels.dtype != np.uint8 or pixels.ndim != 4 or pixels.shape[-1] != 3 or not pixels.size:
        raise ValueError(f"{found[0]} is {described(pixels)}: uint8 of shape (N, height, width, 3) is needed. {AGAIN}")
    if numbers.dtype.kind not in "iu" or numbers.shape != pixels.shape[:1] or int(numbers.min()) < 0:
        raise ValueError(
            f"{labels_file} is {described(numbers)}: {len(pixels)} whole numbers from 0 are needed. {AGAIN}"
        )
    labels = torch.from_numpy(numbers.astype(np.int64))
    indices = indices_of(labels, split, holdout)
    shown = torch.from_numpy(pixels).permute(0, 3, 1, 2)[indices]
    return Images(str(path), shown, labels[indices], [str(i) for i in range(int(labels.max()) + 1)])


def open_array(path: Path) -> np.ndarray:
    """An array mapped from its file; writing to it changes a copy in memory. Nothing is unpickled."""
    try:
        return np.lib.format.open_memmap(path, mode="c")
    except Exception as error:  # a damaged header is read as Python's source, and raises whatever that leads to
        raise ValueError(
            f"{path} ({path.stat().st_size} bytes) cannot be read ({str(error).partition(chr(10))[0]}). A whole array of "
            f"numbers in NumPy's format is needed; pickled objects are refused. {AGAIN}"
        ) from error


def described(array: np.ndarray) -> str:
    """Type and shape in words."""
    return f"{array.dtype} of shape {array.shape}"
