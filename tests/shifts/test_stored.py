from __future__ import annotations

import os
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.testing import assert_close

from renorm.data.decode import Encoded
from renorm.shifts import read_shifts
from tests.data.benchmarks import SEVERITIES, numbered, write_cifar_c, write_classes, write_imagenet_c
from tests.data.pictures import structs, write_image, write_parquet

FISH = ["n01440764", "n01443537", "n01484850"]  # outputs 0, 1, 2 of ImageNet's models
ANIMALS = ["n01498041", "n02056570", "n02129165"]  # 6, 145, 291


def test_cifar_c(tmp_path: Path):
    shifts = read_shifts(write_cifar_c(tmp_path, ["zoom_blur", "fog", "own"], [3, 0, 1]))
    assert [(shift.name, shift.severity) for shift in shifts] == [
        (name, severity) for name in ("zoom_blur", "fog", "own") for severity in SEVERITIES
    ]
    for shift in shifts:
        assert numbered(shift.images) == [40 * shift.severity + i for i in range(3)]
        assert shift.images.labels.tolist() == [3, 0, 1]
        assert shift.images.batch([2, 0])[0].is_contiguous()
        assert shift.outputs is None


def test_cifar_c_stays_on_disk_until_asked_for(tmp_path: Path):
    (shift, *_) = read_shifts(write_cifar_c(tmp_path, ["fog"], [0, 1]))
    with (tmp_path / "fog.npy").open("r+b") as file:
        file.seek(-5 * 2 * 8 * 8 * 3, os.SEEK_END)
        file.write(bytes([77]))
    assert numbered(shift.images) == [77, 41]
    assert numbered(pickle.loads(pickle.dumps(shift.images.subset([1])))) == [41]


def test_names_of_the_classes_of_arrays_are_the_model_s(tmp_path: Path):
    folder = write_cifar_c(tmp_path, ["fog"], [0, 1, 1])
    assert read_shifts(folder)[0].images.classes == ["0", "1"]
    (shift, *_) = read_shifts(folder, classes=["cat", "dog", "horse"])
    assert shift.images.classes == ["cat", "dog", "horse"]
    assert shift.outputs is None


def test_imagenet_c(tmp_path: Path):
    shifts = read_shifts(write_imagenet_c(tmp_path / "c", ["snow", "fog"], FISH), classes=FISH)
    assert [(shift.name, shift.severity) for shift in shifts] == [(n, s) for n in ("snow", "fog") for s in SEVERITIES]
    for shift in shifts:
        assert numbered(shift.images) == [40 * shift.severity + i for i in range(6)]
        assert shift.images.labels.tolist() == [0, 0, 1, 1, 2, 2]
        assert isinstance(shift.images.pixels, Encoded)
        assert shift.outputs is None
        assert shift.images.files is not None
        assert shift.images.files[0] == "n01440764_0.png"


def test_groups_of_corruptions_as_imagenet_c_is_distributed(tmp_path: Path):
    write_imagenet_c(tmp_path / "weather", ["fog"], FISH)
    write_imagenet_c(tmp_path / "blur", ["zoom_blur"], FISH)
    assert {shift.name for shift in read_shifts(tmp_path)} == {"fog", "zoom_blur"}


def test_one_corruption_or_one_severity_alone(tmp_path: Path):
    write_imagenet_c(tmp_path, ["fog", "snow"], FISH)
    assert [(s.name, s.severity) for s in read_shifts(tmp_path / "fog")] == [("fog", s) for s in SEVERITIES]
    (shift,) = read_shifts(tmp_path / "snow" / "4")
    assert (shift.name, shift.severity, len(shift.images)) == ("snow", 4, 6)
    write_cifar_c(tmp_path / "cifar", ["fog", "snow"], [0, 1])
    assert {shift.name for shift in read_shifts(tmp_path / "cifar" / "snow.npy")} == {"snow"}


def test_a_subset_of_imagenet_names_its_outputs(tmp_path: Path):
    (shift,) = read_shifts(write_classes(tmp_path / "imagenet-r", ANIMALS))
    assert (shift.name, shift.severity) == ("imagenet-r", 0)
    assert shift.outputs is not None
    assert shift.outputs.tolist() == [6, 145, 291]
    assert shift.images.labels.tolist() == [0, 1, 2]
    assert shift.images.classes == ANIMALS


def test_outputs_are_those_of_the_model_s_own_names(tmp_path: Path):
    classes = ["n02129165", "n09999999", "n01498041", "n02056570"]
    (shift,) = read_shifts(write_classes(tmp_path / "a", ANIMALS), classes=classes)
    assert shift.outputs is not None
    assert shift.outputs.tolist() == [0, 2, 3]
    assert [shift.images.classes[i] for i in shift.images.labels] == ANIMALS
    assert numbered(shift.images) == [0, 1, 2]


def test_numbers_of_imagenet_v2_are_not_sorted_as_text(tmp_path: Path):
    names = [str(i) for i in range(1000)]
    (shift,) = read_shifts(write_classes(tmp_path / "v2", names), classes=[f"name {i}" for i in range(1000)])
    assert shift.outputs is None
    greys = [label % 256 for label in shift.images.labels.tolist()]
    assert [int(image[0, 0, 0]) for image, _ in shift.images.subset(range(0, 1000, 37))] == greys[::37]
    assert shift.images.labels.unique().numel() == 1000


def test_some_numbers_are_some_outputs(tmp_path: Path):
    (shift,) = read_shifts(write_classes(tmp_path / "v2", ["9", "10", "100"]), classes=["x"] * 1000)
    assert shift.outputs is not None
    assert shift.outputs.tolist() == [9, 10, 100]
    assert numbered(shift.images.subset(shift.images.labels.argsort())) == [0, 1, 2]


def test_parquet_with_corruption_and_severity(tmp_path: Path):
    columns = {"image": structs([1, 2, 3, 4]), "label": [1, 0, 1, 0]}
    for name, keys in [("a", [("fog", 1), ("fog", 2)]), ("b", [("own", 2), ("fog", 1)])]:
        corruptions, severities = zip(*[key for key in keys for _ in range(2)], strict=True)
        write_parquet(tmp_path / f"{name}.parquet", columns | {"corruption": corruptions, "severity": severities})
    shifts = {(shift.name, shift.severity): shift for shift in read_shifts(tmp_path)}
    assert list(shifts) == [("fog", 1), ("fog", 2), ("own", 2)]
    assert numbered(shifts["fog", 1].images) == [1, 2, 3, 4]
    assert numbered(shifts["own", 2].images) == [1, 2]
    assert shifts["fog", 2].images.labels.tolist() == [1, 0]
    assert numbered(pickle.loads(pickle.dumps(shifts["own", 2].images))) == [1, 2]


def test_the_row_of_a_broken_image_is_named(tmp_path: Path):
    broken = [*structs([1]), {"bytes": b"no", "path": "p"}]
    for name in "ab":
        columns = {"image": broken, "label": [0, 0], "corruption": ["fog"] * 2, "severity": [1] * 2}
        write_parquet(tmp_path / f"{name}.parquet", columns)
    with pytest.raises(ValueError, match=r"row 1 of .*b\.parquet cannot be decoded"):
        _ = read_shifts(tmp_path)[0].images[3]


def test_other_images_are_one_shift(tmp_path: Path):
    path = write_parquet(tmp_path / "night.parquet", {"image": structs([5, 6]), "label": ["b", "a"]})
    (shift,) = read_shifts(path, classes=["a", "c", "b"])
    assert (shift.name, shift.severity) == ("night", 0)
    assert shift.outputs is not None
    assert shift.outputs.tolist() == [0, 2]
    assert shift.images.labels.tolist() == [1, 0]
    write_image(tmp_path / "rain" / "1.png")
    (shift,) = read_shifts(tmp_path / "rain")
    assert (shift.name, shift.images.labels.tolist(), shift.outputs) == ("rain", [-1], None)


def test_size_scales_images(tmp_path: Path):
    write_imagenet_c(tmp_path, ["fog"], FISH)
    assert read_shifts(tmp_path)[0].images[0][0].shape == (3, 8, 8)
    assert read_shifts(tmp_path, size=11)[0].images[0][0].shape == (3, 11, 11)


def break_nothing(folder: Path) -> None:
    folder.mkdir()


def break_archives(folder: Path) -> None:
    (folder / "docs").mkdir(parents=True)
    for name in ("blur.tar", "noise.tar", "README"):
        (folder / name).write_text("")


def break_severity(folder: Path) -> None:
    write_imagenet_c(folder, ["fog"], FISH)
    (folder / "fog" / "3").rename(folder / "moved")


def break_images(folder: Path) -> None:
    write_imagenet_c(folder, ["fog", "snow"], FISH)
    (folder / "snow" / "2" / FISH[0] / f"{FISH[0]}_0.png").unlink()


def break_folder(folder: Path) -> None:
    write_imagenet_c(folder, ["fog"], FISH)
    for path in (folder / "fog" / "2").rglob("*.png"):
        path.unlink()


def break_key(folder: Path) -> None:
    write_parquet(folder / "x.parquet", {"image": structs([1]), "label": [0], "corruption": ["fog"]})


def break_value(folder: Path) -> None:
    columns = {"image": structs([1, 2]), "label": [0, 0], "corruption": ["fog", None], "severity": [1, 1]}
    write_parquet(folder / "x.parquet", columns)


def break_parquet(folder: Path) -> None:
    path = write_parquet(folder / "x.parquet", {"image": structs([1]), "corruption": ["fog"], "severity": [1]})
    path.write_bytes(path.read_bytes()[:-20])


BROKEN = {
    break_nothing: r"is an empty folder, which is no layout .* is needed: .*CIFAR-10-C.*extract archives first",
    break_archives: r"is a folder of 1 folders \(docs\) and 2 files \*\.tar and 1 files \*README, .* needed: .*extract",
    break_severity: r"has severities 1, 2, 4, 5 of fog: all of \(1, 2, 3, 4, 5\) are needed.*give one severity alone",
    break_images: r"has 5 images of snow 2 and 6 of others: the same images are needed .* Extract or copy it again",
    break_folder: r"fog/2 has no images\. JPEG.* are needed\. Extract or copy it again",
    break_key: r"has a column 'corruption' and no 'severity': both are needed .*Add the column",
    break_value: r"row 1 of .* has corruption None and severity 1: a name and a whole number are needed\. Write both",
    break_parquet: r"x\.parquet \(\d+ bytes\) cannot be read .* needed\. Copy or download it again",
}


@pytest.mark.parametrize("breaking", BROKEN, ids=lambda function: function.__name__)
def test_what_is_wrong_and_what_is_needed_is_said(breaking, tmp_path: Path):
    breaking(tmp_path / "x")
    with pytest.raises(ValueError, match=BROKEN[breaking]):
        read_shifts(tmp_path / "x")


def test_a_path_that_is_not_there_or_of_another_kind(tmp_path: Path):
    with pytest.raises(FileNotFoundError, match=r"nothing at .*x\. One of these is needed: .*Check the path"):
        read_shifts(tmp_path / "x")
    (tmp_path / "x.csv").write_text("")
    with pytest.raises(ValueError, match=r"x\.csv is a file \*\.csv, which is no layout .* known"):
        read_shifts(tmp_path / "x.csv")


REAL = {"CIFAR-10-C": 19 * 5, "CIFAR-100-C": 19 * 5, "imagenet-a": 1, "imagenet-r": 1, "imagenet-sketch": 1}


@pytest.mark.parametrize("name", REAL)
def test_real_benchmarks(name: str, data_folder: Path):
    folder = data_folder / name
    if not folder.is_dir():
        pytest.skip(f"needs the published {name} as {folder}")
    shifts = read_shifts(folder)
    assert len(shifts) == REAL[name]
    pixels, labels = shifts[0].images.batch(range(10))
    assert pixels.dtype == torch.uint8
    assert int(labels.min()) >= 0
    if name.startswith("CIFAR"):
        assert len(shifts[0].images) == 10_000
        assert_close(labels, shifts[-1].images.labels[:10])


def test_a_pair_of_arrays_is_one_shift(tmp_path: Path):
    np.save(tmp_path / "cifar10.1_v6_data.npy", np.zeros((4, 8, 8, 3), np.uint8))
    np.save(tmp_path / "cifar10.1_v6_labels.npy", np.array([0, 1, 2, 2]))
    (shift,) = read_shifts(tmp_path, classes=["a", "b", "c"])
    assert (shift.severity, shift.outputs, shift.images.labels.tolist()) == (0, None, [0, 1, 2, 2])
    assert shift.images.classes == ["0", "1", "2"]  # numbers of the model's outputs


def test_a_data_set_with_splits_is_its_test_split(tmp_path: Path):
    for name in ("Train/a", "Train/b", "Testing/b"):
        write_image(tmp_path / name / "1.png")
    (shift,) = read_shifts(tmp_path, classes=["a", "b"])
    assert shift.images.labels.tolist() == [1]
