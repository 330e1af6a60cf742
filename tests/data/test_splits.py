from __future__ import annotations

from pathlib import Path

import pytest

from renorm.data import evaluation_split, load, splits_of
from renorm.data.splits import kind_of, kinds_of_folders
from renorm.notice import Notice
from tests.data.pictures import structs, write_image, write_parquet

PARQUET = {  # names of the training and the test files, as they are found
    "hash": ("data/train-00000-of-00001-b21cdf6ac4b8d9a5", "data/test-00000-of-00001-03ab5b5e3d3c1d4a"),
    "converted": ("default/train/0000", "default/test/0000"),
    "converted in part": ("default/partial-train/0000", "default/partial-test/0000"),
    "prefix": ("csv-train-00000-of-00001", "csv-test-00000-of-00001"),
    "numbered": ("train_0", "test_0"),
    "hub": ("data/train-00000-of-00001", "data/test-00000-of-00001"),
    "upper case": ("Train", "TEST"),
    "words": ("training", "testing"),
    "name before": ("flowers_train", "flowers_test"),
    "folders": ("train/a", "test/a"),
}


@pytest.mark.parametrize("layout", PARQUET)
def test_files_of_a_split_are_its_own(layout: str, tmp_path: Path):
    for name, greys in zip(PARQUET[layout], ([1, 2, 3], [4, 5]), strict=True):
        write_parquet(tmp_path / f"{name}.parquet", {"image": structs(greys), "label": [0] * len(greys)})
    write_parquet(tmp_path / ".cache" / "x.parquet", {"image": structs([9])})
    assert splits_of(tmp_path) == ["test", "train"]
    assert [int(image[0, 0, 0]) for image, _ in load(tmp_path, "train")] == [1, 2, 3]
    assert [int(image[0, 0, 0]) for image, _ in load(tmp_path, "test")] == [4, 5]
    assert len(load(tmp_path)) == 3
    with pytest.raises(ValueError, match=r"has no split 'validation'\. It has test, train\. Use one of these"):
        load(tmp_path, "validation")


def test_shards_are_joined_and_missing_ones_are_said(tmp_path: Path):
    for i in (0, 2):
        write_parquet(tmp_path / f"train-0000{i}-of-00003-abc.parquet", {"image": structs([i])})
    write_parquet(tmp_path / "test-00000-of-00001.parquet", {"image": structs([7])})
    with pytest.warns(Notice, match="has 2 of the 3 files of train: the others are missing"):
        assert len(load(tmp_path, "train")) == 2
    assert len(load(tmp_path, "test")) == 1


def test_several_configurations_are_not_mixed(tmp_path: Path):
    for name in ("full/train", "small/train"):
        write_parquet(tmp_path / f"{name}.parquet", {"image": structs([1])})
    with pytest.raises(
        ValueError, match=r"several data sets of one split, in full, small: one is needed\. Give the folder"
    ):
        load(tmp_path, "train")
    assert len(load(tmp_path / "small", "train")) == 1


def test_a_file_of_two_splits_is_refused(tmp_path: Path):
    write_parquet(tmp_path / "test" / "train-0.parquet", {"image": structs([1])})
    with pytest.raises(ValueError, match=r"called after the splits test and train: it must be one of them\. Rename it"):
        load(tmp_path, "train")


def test_a_file_called_after_a_split_is_no_other(tmp_path: Path):
    path = write_parquet(tmp_path / "train.parquet", {"image": structs([1, 2, 3, 4]), "label": [0] * 4})
    assert len(load(path, "train")) == len(load(path)) == 4
    with pytest.raises(ValueError, match=r"has no splits: 'test' would be everything"):
        load(path, "test")
    assert len(load(path, "test", holdout=0.25)) == 1


FOLDERS = {
    "case": ("Train", "TEST"),
    "set": ("training_set", "test_set"),
    "set again": ("training_set/training_set", "test_set/test_set"),
    "segments": ("seg_train/seg_train", "seg_test/seg_test"),
    "camel": ("TrainingSet", "TestSet"),
    "deeper": ("archive/train", "archive/test"),
    "deeper still": ("a/b/Training", "a/b/Testing"),
    "year": ("train2017", "test2017"),
    "own name": ("pets_train", "pets_test"),
}


@pytest.mark.parametrize("layout", FOLDERS)
def test_folders_of_a_split_are_its_own(layout: str, tmp_path: Path):
    train, test = FOLDERS[layout]
    for name in (f"{train}/cat/1", f"{train}/dog/2", f"{test}/cat/3"):
        grey = int(name[-1])
        write_image(tmp_path / f"{name}.png", color=(grey, grey, grey))
    write_image(tmp_path / "__MACOSX" / "train" / "cat" / "1.png")
    assert splits_of(tmp_path) == ["test", "train"]
    assert evaluation_split(tmp_path) == "test"
    images = load(tmp_path, "train")
    assert images.classes == ["cat", "dog"]
    assert [(int(image[0, 0, 0]), label) for image, label in images] == [(1, 0), (2, 1)]
    assert [(int(image[0, 0, 0]), label) for image, label in load(tmp_path, "test")] == [(3, 0)]


@pytest.mark.parametrize(
    "names", [["airport", "train_station"], ["test tube", "dev board", "train driver"], ["cat", "dog"]]
)
def test_classes_that_mention_a_split_are_classes(names: list[str], tmp_path: Path):
    for name in names:
        write_image(tmp_path / name / "1.png")
    assert splits_of(tmp_path) == []
    assert load(tmp_path).classes == sorted(names)


def test_a_class_called_train_is_told_from_no_split(tmp_path: Path):
    for name in ("bus", "car", "train"):
        write_image(tmp_path / "x" / name / "1.png")
    with pytest.raises(ValueError, match=r"a folder train beside bus, car: it may be a split or a class\. .*Put all"):
        load(tmp_path / "x")
    (tmp_path / "x").rename(tmp_path / "test")
    assert load(tmp_path, "test").classes == ["bus", "car", "train"]


def test_splits_beside_other_folders_are_splits(tmp_path: Path):
    for name in ("train/a", "test/a", "extra/a"):
        write_image(tmp_path / name / "1.png")
    assert splits_of(tmp_path) == ["extra", "test", "train"]
    assert len(load(tmp_path, "extra")) == 1


def test_several_folders_of_a_split_are_refused(tmp_path: Path):
    for name in ("trainA", "trainB", "testA", "testB"):
        write_image(tmp_path / name / "1.png")
    with pytest.raises(ValueError, match=r"several folders for train: trainA, trainB\. One is needed\. Name it"):
        load(tmp_path, "train")
    assert len(load(tmp_path, "trainA")) == 1


def test_no_split_is_chosen_among_several_that_are_not_for_training(tmp_path: Path):
    for name in ("test/a", "val/a"):
        write_image(tmp_path / name / "1.png")
    with pytest.raises(
        ValueError, match=r"has the splits test, validation, and none is named: name one of them, as 'test'"
    ):
        load(tmp_path)
    assert len(load(tmp_path, "dev")) == 1


def test_data_with_a_name_have_their_splits():
    assert splits_of("digits") == splits_of("cifar10") == ["train", "test"]
    assert len(load("digits")) == len(load("digits", "train")) == 1347


def test_words_of_names():
    assert [kind_of(name) for name in ("TRAIN", "Val", "testing", "train-set", "trainer", "attest")] == [
        *("train", "validation", "test", "train"),
        *(None, None),
    ]
    assert kinds_of_folders(["x_train", "y_test"]) == {}
    assert [kind_of(name) for name in ("train_站", "trainé", "train_2", "тест")] == [None, None, "train", None]
