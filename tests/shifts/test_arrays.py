from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from renorm.shifts import read_shifts
from tests.data.benchmarks import write_cifar_c


def saved(name: str, array: Any) -> Callable[[Path], object]:
    return lambda folder: np.save(folder / name, array, allow_pickle=True)


def cut(name: str, num_bytes: int) -> Callable[[Path], object]:
    return lambda folder: (folder / name).write_bytes((folder / name).read_bytes()[:num_bytes])


def zipped(folder: Path) -> None:
    with (folder / "fog.npy").open("wb") as file:
        np.savez(file, a=np.zeros(3))


BROKEN: dict[str, tuple[Callable[[Path], object], str]] = {
    "shape": (
        saved("fog.npy", np.zeros((15, 8, 8), np.uint8)),
        r"fog\.npy is uint8 of shape \(15, 8, 8\): .*3\) is needed",
    ),
    "channels": (saved("fog.npy", np.zeros((15, 3, 8, 8), np.uint8)), r"\(15, 3, 8, 8\): uint8 of shape \(5 N, height"),
    "type": (saved("fog.npy", np.zeros((15, 8, 8, 3), np.float32)), r"fog\.npy is float32 of shape .*uint8"),
    "missing severity": (
        saved("fog.npy", np.zeros((12, 8, 8, 3), np.uint8)),
        r"fog\.npy has 12 images and labels\.npy has 15 labels: one label per image is needed, .*Download or copy it again",
    ),
    "objects": (saved("fog.npy", np.array([{}, {}])), r"cannot be read .*pickled objects are refused\. Download"),
    "truncated": (
        cut("fog.npy", 900),
        r"fog\.npy \(900 bytes\) cannot be read .*whole array .* needed.*Download or copy",
    ),
    "cut header": (cut("fog.npy", 20), r"fog\.npy \(20 bytes\) cannot be read"),
    "empty": (cut("fog.npy", 0), r"fog\.npy \(0 bytes\) cannot be read"),
    "zipped": (zipped, r"fog\.npy .*cannot be read"),
    "no labels": (
        lambda folder: (folder / "labels.npy").unlink(),
        r"has arrays, but no labels\.npy: the class of every",
    ),
    "labels only": (lambda folder: (folder / "fog.npy").unlink(), r"has labels\.npy only: arrays .* are needed"),
    "labels of other length": (saved("labels.npy", np.arange(12)), r"labels\.npy has 12 labels, no multiple of 5"),
    "labels of fewer": (
        saved("labels.npy", np.zeros(10, int)),
        r"fog\.npy has 15 images and labels\.npy has 10 labels",
    ),
    "labels of one severity": (
        saved("labels.npy", np.arange(15)),
        r"other labels in one severity than in another: the same",
    ),
    "real labels": (saved("labels.npy", np.zeros(15)), r"labels\.npy is float64 of shape \(15,\): whole numbers"),
    "labels below zero": (saved("labels.npy", np.full(15, -1)), r"labels from -1 to -1: .* are needed"),
    "labels that are objects": (
        saved("labels.npy", np.array([None] * 15)),
        r"labels\.npy .*pickled objects are refused",
    ),
}


@pytest.mark.parametrize("case", BROKEN)
def test_a_damaged_folder_is_refused(case: str, tmp_path: Path):
    breaking, message = BROKEN[case]
    breaking(write_cifar_c(tmp_path, ["fog"], [0, 1, 2]))
    with pytest.raises(ValueError, match=message):
        read_shifts(tmp_path)


def test_labels_of_more_classes_than_the_model_has_are_refused(tmp_path: Path):
    folder = write_cifar_c(tmp_path, ["fog"], [0, 1, 2])
    with pytest.raises(ValueError, match=r"labels from 0 to 2: 0 to 1, the .* are needed\. Evaluate a model"):
        read_shifts(folder, classes=["a", "b"])


def test_arrays_are_not_scaled(tmp_path: Path):
    folder = write_cifar_c(tmp_path, ["fog"], [0, 1, 2])
    assert len(read_shifts(folder, size=8)) == 5
    with pytest.raises(ValueError, match=r"images of 8 x 8 pixels, and 16 x 16 are wanted: .* Leave size out"):
        read_shifts(folder, size=16)


@pytest.mark.parametrize("kind", ["uint8", "int32", "int64"])
def test_labels_of_any_whole_numbers(kind: str, tmp_path: Path):
    folder = write_cifar_c(tmp_path, ["fog"], [0, 4])
    np.save(folder / "labels.npy", np.array([0, 4] * 5, dtype=kind))
    assert read_shifts(folder)[3].images.labels.tolist() == [0, 4]
