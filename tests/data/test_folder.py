from __future__ import annotations

from pathlib import Path

import pytest
import torch

from renorm.data import load
from renorm.data.decode import Encoded
from renorm.notice import Notice
from tests.data.pictures import write_image


def test_one_subfolder_per_class(tmp_path: Path):
    write_image(tmp_path / "dog" / "deep" / "2.png", color=(2, 2, 2))
    write_image(tmp_path / "cat" / "1.png", color=(1, 1, 1))
    write_image(tmp_path / ".hidden" / "3.png")
    (tmp_path / "dog" / "notes.txt").write_text("no image")
    with pytest.warns(Notice, match=r"has 1 files that are no images and were left out: 1 \*\.txt\.$"):
        images = load(tmp_path)
    assert images.classes == ["cat", "dog"]
    assert [(int(image[0, 0, 0]), label) for image, label in images] == [(1, 0), (2, 1)]


def test_which_of_two_levels_is_taken_for_classes_is_told(tmp_path: Path):
    for name in ("entrenamiento/dog", "entrenamiento/cat", "prueba/dog", "prueba/cat"):
        write_image(tmp_path / name / "1.png")
    with pytest.warns(Notice, match=r"entrenamiento, prueba are taken for the classes, not .* \(cat, dog\)\. If those"):
        assert load(tmp_path).classes == ["entrenamiento", "prueba"]


def test_a_flat_folder_has_no_labels(tmp_path: Path):
    for i in range(3):
        write_image(tmp_path / f"{i}.png")
    images = load(tmp_path)
    assert images.labels.tolist() == [-1, -1, -1]
    assert images.classes == []


def test_subfolders_called_after_splits_are_the_splits(tmp_path: Path):
    for name in ("train/b", "train/c", "test/c", "val/a"):
        write_image(tmp_path / name / "1.png")
    assert load(tmp_path, "train").labels.tolist() == [1, 2]
    assert load(tmp_path, "test").labels.tolist() == [2]
    assert load(tmp_path, "test").classes == ["a", "b", "c"]
    with pytest.raises(ValueError, match=r"has no split 'tset'\. It has test, train, val\. Use 'test'"):
        load(tmp_path, "tset")
    with pytest.raises(ValueError, match=r"has the splits test, train, val and holdout=0\.5 would divide 'train'"):
        load(tmp_path, "train", holdout=0.5)


def test_a_folder_without_splits_is_one_whole_or_divided(tmp_path: Path):
    for i in range(8):
        write_image(tmp_path / "ab"[i % 2] / f"{i}.png", color=(i, i, i))
    assert len(load(tmp_path)) == 8
    with pytest.raises(
        ValueError, match=r"has no splits: 'test' would be everything\. Leave the split out .*holdout=0\.2"
    ):
        load(tmp_path, "test")
    train, test = (load(tmp_path, split, holdout=0.25) for split in ("train", "test"))
    assert train.labels.bincount().tolist() == [3, 3]
    assert test.labels.bincount().tolist() == [1, 1]
    seen = [int(image[0, 0, 0]) for images in (train, test) for image, _ in images]
    assert sorted(seen) == list(range(8))


@pytest.mark.parametrize(("share", "message"), [(1.5, "holdout=1.5 is no share"), (0.01, "leaves none for 'test'")])
def test_an_impossible_division_is_refused(share: float, message: str, tmp_path: Path):
    write_image(tmp_path / "a" / "1.png")
    with pytest.raises(ValueError, match=message):
        load(tmp_path, "test", holdout=share)


def test_a_folder_without_images_is_refused(tmp_path: Path):
    with pytest.raises(ValueError, match=r"has no images\. JPEG, PNG, .* are needed\. Check the path\."):
        load(tmp_path)


def test_loose_images_beside_classes_are_refused(tmp_path: Path):
    write_image(tmp_path / "a" / "1.png")
    write_image(tmp_path / "loose.png")
    with pytest.raises(ValueError, match=r"1 images in subfolders and 1 beside them \(loose\.png, .*Move the loose"):
        load(tmp_path)


def test_large_images_are_scaled_and_cut_to_the_center_when_asked_for(tmp_path: Path):
    stripes = torch.zeros(100, 300, 3, dtype=torch.uint8)
    stripes[:, 100:200] = 255
    from PIL import Image

    Image.fromarray(stripes.numpy()).save(tmp_path / "1.png")
    images = load(tmp_path)
    assert isinstance(images.pixels, Encoded)
    assert images[0][0].shape == (3, 224, 224)
    assert (images[0][0][:, :, 5:-5] == 255).all()


def test_size_and_images_of_other_sizes(tmp_path: Path):
    write_image(tmp_path / "1.png", 12, 9)
    write_image(tmp_path / "2.png", 30, 30)
    with pytest.raises(ValueError, match=r"2\.png has 30 x 30 pixels, and images before it 12 x 9 pixels: .*size="):
        load(tmp_path)
    assert load(tmp_path, size=20).batch([0, 1])[0].shape == (2, 3, 20, 20)
    assert load(tmp_path, size=200)[1][0].shape == (3, 200, 200)
    with pytest.raises(ValueError, match="size=0 is no side"):
        load(tmp_path, size=0)


@pytest.mark.parametrize("part", [0.0, 0.5], ids=["empty", "truncated"])
@pytest.mark.parametrize("side", [16, 256], ids=["decoded", "encoded"])
def test_an_image_that_cannot_be_decoded_is_named(part: float, side: int, tmp_path: Path):
    whole = write_image(tmp_path / "1.png", side, side).read_bytes()
    (tmp_path / "2.png").write_bytes(whole[: int(part * len(whole))])
    with pytest.raises(ValueError, match=r"2\.png cannot be decoded \(.*Replace it or take it out"):
        _ = load(tmp_path)[1]
