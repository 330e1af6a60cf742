"""CIFAR-C's layout: an array of each corruption with its five severities stacked, and the labels."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from renorm.corruptions import SEVERITIES
from renorm.data import Frame, Images, described, open_array
from renorm.shifts.manifest import ImagesByShift, Manifest

LABELS = "labels.npy"
AGAIN = "Download or copy it again."


def read_arrays(path: Path, manifest: Manifest | None, classes: Sequence[str], frame: Frame | None) -> ImagesByShift:
    """Images by corruption and severity; pixels stay on disk until asked for.

    Args:
        path: the folder, or one array of it.
        manifest: what the folder says of itself.
        classes: names of the model's outputs, which the labels count.
        frame: its size must be the arrays' own, if given.

    Raises:
        ValueError: an array or the labels are missing, damaged, or of another shape or type.
    """
    folder = path.parent if path.is_file() else path
    labels = read_labels(folder, manifest, classes)
    files = [path] if path.is_file() else sorted(file for file in folder.glob("*.npy") if file.name != LABELS)
    if not files or files == [folder / LABELS]:
        raise ValueError(f"{folder} has {LABELS} only: arrays called after corruptions are needed beside it. {AGAIN}")
    names = manifest.classes if manifest else list(classes) or [str(i) for i in range(int(labels.max()) + 1)]
    cells: ImagesByShift = {}
    for file in files:
        pixels = read_pixels(file, len(SEVERITIES) * len(labels), frame)
        for severity, part in zip(SEVERITIES, pixels.split(len(labels)), strict=True):
            cells[file.stem, severity] = Images(f"{file}:{severity}", part, labels, names)
    return cells


def read_labels(folder: Path, manifest: Manifest | None, classes: Sequence[str]) -> Tensor:
    """Labels of the images of one severity. Shape: int64 ``(N,)``."""
    path = folder / LABELS
    if not path.is_file():
        raise ValueError(f"{folder} has arrays, but no {LABELS}: the class of every image is needed. {AGAIN}")
    stacked = open_array(path)
    if stacked.ndim != 1 or stacked.dtype.kind not in "iu" or not len(stacked):
        raise ValueError(f"{path} is {described(stacked)}: whole numbers of shape (5 N,) are needed. {AGAIN}")
    if len(stacked) % len(SEVERITIES):
        raise ValueError(
            f"{path} has {len(stacked)} labels, no multiple of 5: those of the five severities, stacked, are needed. {AGAIN}"
        )
    rows = torch.from_numpy(stacked.astype(np.int64)).view(len(SEVERITIES), -1)
    if not torch.equal(rows, rows[:1].expand_as(rows)):
        raise ValueError(
            f"{path} has other labels in one severity than in another: the same images are needed in each. {AGAIN}"
        )
    num_classes = len(manifest.classes) if manifest else len(classes) or int(rows.max()) + 1
    if int(rows.min()) < 0 or int(rows.max()) >= num_classes:
        raise ValueError(
            f"{path} has labels from {int(rows.min())} to {int(rows.max())}: 0 to {num_classes - 1}, the numbers of the "
            "model's classes, are needed. Evaluate a model of these classes."
        )
    return rows[0].clone()


def read_pixels(path: Path, num_images: int, frame: Frame | None) -> Tensor:
    """The images of an array, which stay in its file until asked for. Shape: uint8 ``(5 N, 3, H, W)``."""
    array = open_array(path)
    if array.dtype != np.uint8 or array.ndim != 4 or array.shape[-1] != 3 or not array.size:
        raise ValueError(f"{path} is {described(array)}: uint8 of shape (5 N, height, width, 3) is needed. {AGAIN}")
    if len(array) != num_images:
        raise ValueError(
            f"{path} has {len(array)} images and {LABELS} has {num_images} labels: one label per image is needed, five "
            f"severities stacked. {AGAIN}"
        )
    if frame is not None and array.shape[2:0:-1] != frame.size:
        raise ValueError(
            f"{path} has images of {array.shape[1]} x {array.shape[2]} pixels, and {frame.size[1]} x {frame.size[0]} are wanted: "
            "arrays are read as they are. Leave size out, or use a model of that size."
        )
    return torch.from_numpy(array).permute(0, 3, 1, 2)
