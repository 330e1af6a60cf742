from __future__ import annotations

from pathlib import Path

import pytest

from renorm.data import load
from tests.data.benchmarks import numbered
from tests.data.pictures import write_image

CLASSES = ["n01443537", "n02056570"]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for i, name in enumerate(CLASSES):
        write_image(tmp_path / "train" / name / "images" / f"{name}_0.png", color=(i, i, i))
        write_image(tmp_path / "test" / "images" / f"test_{i}.png")
    for i in range(3):
        write_image(tmp_path / "val" / "images" / f"val_{i}.png", color=(10 + i, 0, 0))
    rows = [f"val_{i}.png\t{CLASSES[label]}\t0\t0\t7\t7" for i, label in [(1, 0), (0, 1), (2, 1)]]
    (tmp_path / "val" / "val_annotations.txt").write_text("\n".join(rows) + "\n")
    return tmp_path


def test_train_has_folders_of_classes(folder: Path):
    images = load(folder, "train")
    assert images.classes == CLASSES
    assert images.labels.tolist() == [0, 1]
    assert numbered(images) == [0, 1]


@pytest.mark.parametrize("split", ["val", "test"])
def test_classes_of_val_are_in_the_table(split: str, folder: Path):
    images = load(folder, split)
    assert images.classes == CLASSES
    assert numbered(images) == [10, 11, 12]
    assert images.labels.tolist() == [1, 0, 1]
    assert images.files == ["val_0.png", "val_1.png", "val_2.png"]


def test_no_other_split_and_no_division(folder: Path):
    with pytest.raises(ValueError, match=r"has no split 'vals'\. It has test, train, val\. Use 'val'"):
        load(folder, "vals")
    with pytest.raises(ValueError, match=r"holdout=0\.5 would divide 'train' once more"):
        load(folder, "train", holdout=0.5)


def test_a_table_that_does_not_fit_is_refused(folder: Path):
    table = folder / "val" / "val_annotations.txt"
    table.write_text("val_0.png\tn00000000\n")
    with pytest.raises(ValueError, match=r"1 images for 'val' and 2 classes in train that do not fit: .* Extract"):
        load(folder, "val")
    table.write_text("val_0.png n01443537\n")
    with pytest.raises(ValueError, match=r"val_annotations\.txt has lines without a tab: .* needed\. Extract it again"):
        load(folder, "val")
    table.write_text("val_9.png\tn01443537\n")
    with pytest.raises(ValueError, match=r"val_9\.png cannot be decoded"):
        load(folder, "val")
