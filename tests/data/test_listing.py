from __future__ import annotations

import unicodedata
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from renorm.data import load, read_again
from renorm.notice import Notice
from tests.data.pictures import structs, write_image, write_parquet


def test_what_systems_leave_behind_is_no_image_and_no_class(tmp_path: Path):
    for name in ("cat/1", "dog/2"):
        write_image(tmp_path / f"{name}.png")
    for name in (
        "__MACOSX/cat/._1",
        ".ipynb_checkpoints/1",
        "cat/.ipynb_checkpoints/1",
        "cat/._1",
        "@eaDir/1",
        "dog/@eaDir/1",
    ):
        write_image(tmp_path / f"{name}.png")
    for name in (".DS_Store", "Thumbs.db", "cat/desktop.ini"):
        (tmp_path / name).write_bytes(b"x")
    images = load(tmp_path)
    assert images.classes == ["cat", "dog"]
    assert images.files == ["1.png", "2.png"]


def test_other_files_are_counted_by_suffix_in_one_line(tmp_path: Path):
    write_image(tmp_path / "cat" / "1.png")
    for name in ("cat/a.HEIC", "cat/b.heic", "cat/c.txt", "cat/d.eps", "LICENSE"):
        (tmp_path / name).write_bytes(b"%!PS")
    with pytest.warns(Notice) as said:
        assert len(load(tmp_path)) == 1
    text = str(said[0].message)
    assert len(said) == 1
    assert "has 5 files that are no images and were left out: " in text
    assert "2 *.heic (Pillow does not read HEIC: convert them to JPEG)" in text
    assert all(part in text for part in ("1 *.txt", "1 *.eps", "1 LICENSE"))


def test_a_class_without_an_image_is_refused(tmp_path: Path):
    write_image(tmp_path / "cat" / "1.png")
    (tmp_path / "dog").mkdir()
    with pytest.raises(
        ValueError, match=r"has 1 folders without an image, as dog \(nothing\): each subfolder is a class"
    ):
        load(tmp_path)
    (tmp_path / "dog" / "1.heic").write_bytes(b"x")
    with pytest.raises(
        ValueError, match=r"as dog \(nothing but 1 \*\.heic \(Pillow does not read HEIC.*Convert what it holds"
    ):
        load(tmp_path)


@pytest.mark.parametrize(
    ("name", "remedy"),
    [
        ("a-000.tar", r"datasets\.load_dataset\('webdataset'"),
        ("data-00000-of-00001.arrow", r"datasets\.load_from_disk"),
        ("photos.zip", "extract them"),
        ("x.heic", "convert them to JPEG"),
        ("x.npz", "NAME_data.npy with NAME_labels.npy"),
        ("x.tfrecord", "write the images as files or as Parquet"),
    ],
)
def test_a_folder_of_something_else_is_refused_with_what_fits(name: str, remedy: str, tmp_path: Path):
    (tmp_path / name).write_bytes(b"x")
    with pytest.raises(ValueError, match=rf"has no images; it holds 1 \*\.\w+ \(.*{remedy}.*Check the path"):
        load(tmp_path)


def test_a_file_of_something_else_is_refused_with_what_fits(tmp_path: Path):
    (tmp_path / "a.tar").write_bytes(b"x")
    with pytest.raises(
        ValueError, match=r"a\.tar is neither a folder nor a \.parquet file\. .*load_dataset\('webdataset'"
    ):
        load(tmp_path / "a.tar")


@pytest.mark.parametrize(("file", "part"), [("dataset_dict.json", r"\[SPLIT\]"), ("state.json", "")])
def test_what_save_to_disk_writes_is_refused_by_name(file: str, part: str, tmp_path: Path):
    (tmp_path / file).write_text("{}")
    with pytest.raises(
        ValueError, match=rf"is what save_to_disk of datasets .*load_from_disk\(FOLDER\){part}\.to_parquet"
    ):
        load(tmp_path)


def test_a_folder_of_both_kinds_is_refused(tmp_path: Path):
    write_image(tmp_path / "a" / "1.png")
    write_parquet(tmp_path / "metadata.parquet", {"file_name": ["a/1.png"]})
    with pytest.raises(
        ValueError, match=r"has Parquet files \(metadata\.parquet, .* and image files: one of both is needed"
    ):
        load(tmp_path)


def test_two_spellings_of_a_name_are_one_class(tmp_path: Path):
    for form in ("NFC", "NFD"):
        write_image(tmp_path / unicodedata.normalize(form, "café") / f"{form}.png")
    write_image(tmp_path / "bar" / "1.png")
    images = load(tmp_path)
    assert images.classes == ["bar", unicodedata.normalize("NFC", "café")]
    assert images.labels.tolist() == [0, 1, 1]
    names = [unicodedata.normalize(form, "café") for form in ("NFC", "NFD")]
    path = write_parquet(tmp_path / "x" / "x.parquet", {"image": structs([1, 2]), "label": names})
    assert load(path).labels.tolist() == [0, 0]


def test_without_labels_all_images_are_read(tmp_path: Path):
    for name in ("loose", "2026-01-01/1", "2026-01-02/deep/2"):
        write_image(tmp_path / f"{name}.png")
    with pytest.raises(
        ValueError, match=r"2 images in subfolders and 1 beside them .*labels=False, in the shell --no-labels"
    ):
        load(tmp_path)
    images = load(tmp_path, labels=False)
    assert images.labels.tolist() == [-1] * 3
    assert images.classes == []
    assert images.origin is not None
    assert read_again(images.origin).fingerprint == images.fingerprint
    assert load("digits", "test", labels=False).labels.unique().tolist() == [-1]
    path = write_parquet(tmp_path / "x.parquet", {"image": structs([1, 2]), "label": [0.5, 1.5]})
    assert load(path, labels=False).classes == []


def test_where_labels_are_from_is_known(tmp_path: Path):
    write_image(tmp_path / "f" / "a" / "1.png")
    path = write_parquet(tmp_path / "x.parquet", {"image": structs([1]), "cls": [0]})
    found = [load(each).origin for each in (tmp_path / "f", path)]
    assert [origin and origin.labels for origin in found] == ["folders", "the column cls"]


@pytest.mark.parametrize("side", [8, 120])
def test_damaged_images_are_skipped_and_counted(side: int, tmp_path: Path):
    for i in range(4):
        write_image(tmp_path / "a" / f"{i}.png", side, side, color=(i, i, i))
    (tmp_path / "a" / "0.png").write_bytes(b"")
    whole = (tmp_path / "a" / "2.png").read_bytes()
    (tmp_path / "a" / "2.png").write_bytes(whole[: len(whole) // 2])
    with pytest.warns(
        Notice, match=r"2 of the 4 images of .* cannot be read and were left out\. The first: .*0\.png cannot be"
    ):
        images = load(tmp_path, skip_damaged=True)
    assert [int(image[0, 0, 0]) for image, _ in images] == [1, 3]
    assert images.files == ["1.png", "3.png"]
    assert images.origin is not None
    with pytest.warns(Notice):
        assert read_again(images.origin).fingerprint == images.fingerprint
    for i in range(4):
        (tmp_path / "a" / f"{i}.png").write_bytes(b"")
    with pytest.raises(ValueError, match=r"none of the 4 images of .* can be read\. The first: "):
        load(tmp_path, skip_damaged=True)


def test_a_link_to_a_folder_above_ends(tmp_path: Path):
    write_image(tmp_path / "a" / "1.png")
    (tmp_path / "a" / "again").symlink_to(tmp_path, target_is_directory=True)
    assert len(load(tmp_path)) == 1


@pytest.fixture
def cifar101(tmp_path: Path) -> Path:
    pixels = np.random.default_rng(0).integers(0, 255, (5, 8, 8, 3), np.uint8)
    np.save(tmp_path / "cifar10.1_v6_data.npy", pixels)
    np.save(tmp_path / "cifar10.1_v6_labels.npy", np.array([0, 1, 9, 3, 3], np.int32))
    return tmp_path


def test_arrays_are_read_as_cifar_10_1_is_distributed(cifar101: Path):
    images = load(cifar101)
    assert images.labels.tolist() == [0, 1, 9, 3, 3]
    assert len(images.classes) == 10
    pixels = np.load(cifar101 / "cifar10.1_v6_data.npy")
    assert np.array_equal(images[2][0].permute(1, 2, 0).numpy(), pixels[2])
    assert load(cifar101 / "cifar10.1_v6_data.npy", size=16)[0][0].shape == (3, 16, 16)


@pytest.mark.parametrize(
    ("name", "array", "message"),
    [
        (
            "cifar10.1_v6_labels.npy",
            np.zeros(4, np.int32),
            r"labels\.npy is int32 of shape \(4,\): 5 whole numbers from 0",
        ),
        ("cifar10.1_v6_data.npy", np.zeros((5, 8, 8)), r"data\.npy is float64 of shape \(5, 8, 8\): uint8 of shape"),
        ("cifar10.1_v4_data.npy", np.zeros((5, 8, 8, 3), np.uint8), r"is 2 arrays .*Give that file"),
        ("cifar10.1_v6_labels.npy", np.array([{}], object), r"cannot be read .* pickled objects are refused"),
    ],
)
def test_arrays_that_do_not_fit_are_refused(name: str, array: Any, message: str, cifar101: Path):
    np.save(cifar101 / name, array, allow_pickle=True)
    with pytest.raises(ValueError, match=message):
        load(cifar101)


def test_an_array_without_labels_is_refused(cifar101: Path):
    (cifar101 / "cifar10.1_v6_labels.npy").unlink()
    with pytest.raises(
        ValueError, match=r"has no cifar10\.1_v6_labels\.npy beside it: the class of every image is needed"
    ):
        load(cifar101)
