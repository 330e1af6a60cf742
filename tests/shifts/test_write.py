from __future__ import annotations

import errno
import io
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.testing import assert_close

from renorm.corruptions import corrupt
from renorm.data import Images, load
from renorm.extras import require
from renorm.seeds import stable_seed
from renorm.shifts import CorruptionSettings, Manifest, make_shifts
from renorm.shifts.layouts import WRITERS, Piece, Writer
from renorm.shifts.manifest import read_manifest
from renorm.shifts.stored import StoredShift, read_shifts
from renorm.shifts.write import write_shifts
from tests.data.pictures import write_image

LAYOUTS = ("cifar-c", "imagenet-c", "parquet")


@pytest.fixture
def images() -> Images:
    """Seven smooth images of three classes, in no order."""
    coarse = torch.rand(7, 3, 4, 5, generator=torch.Generator().manual_seed(1))
    pixels = (torch.nn.functional.interpolate(coarse, (11, 13), mode="bilinear") * 255).round().to(torch.uint8)
    return Images("smooth", pixels, torch.tensor([2, 0, 1, 0, 2, 1, 0]), ["b", "c", "a"])


@pytest.fixture
def small_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    for layout in WRITERS.values():
        monkeypatch.setattr(layout, "step", 3)


def settings(layout: Any, **options: Any) -> CorruptionSettings:
    lossless: dict[str, Any] = {} if layout == "cifar-c" else {"format": "png"}
    return CorruptionSettings(layout, ("fog", "gaussian_noise"), seed=5, **(lossless | options))


def files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def in_order(shift: StoredShift, layout: str, images: Images) -> torch.Tensor:
    """The pixels of a shift, in the order of the images they were made of: ImageNet-C's is that of classes and names."""
    pixels, labels = shift.images.batch(range(len(images)))
    order = images.labels.argsort(stable=True) if layout == "imagenet-c" else torch.arange(len(images))
    assert_close(labels, images.labels[order])
    return torch.empty_like(pixels).index_copy_(0, order, pixels)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_what_is_read_is_what_was_corrupted(layout: str, images: Images, tmp_path: Path, small_pieces: None):
    write_shifts(images, tmp_path / "out", settings(layout))
    assert isinstance(images.pixels, torch.Tensor)
    found = read_shifts(tmp_path / "out", classes=["b", "c", "a"])
    assert [(shift.name, shift.severity) for shift in found] == [
        (name, severity) for name in ("gaussian_noise", "fog") for severity in (1, 2, 3, 4, 5)
    ]
    for shift in found:
        seeds = [stable_seed(5, i) for i in range(7)]
        exact = corrupt(images.pixels / 255, shift.name, shift.severity, seeds, scale=32)
        assert torch.equal(in_order(shift, layout, images), (exact * 255).round().to(torch.uint8))
        assert shift.outputs is None
        assert shift.images.classes == ["b", "c", "a"]


@pytest.mark.parametrize("layout", LAYOUTS)
def test_it_is_what_an_evaluation_in_memory_sees(layout: str, images: Images, tmp_path: Path):
    write_shifts(images, tmp_path, settings(layout))
    (shift,) = make_shifts(["gaussian_noise:4"], lambda name: lambda image: image, seed=5)
    pixels, _ = images.batch(range(7))
    stored = next(each for each in read_shifts(tmp_path) if (each.name, each.severity) == ("gaussian_noise", 4))
    assert torch.equal(in_order(stored, layout, images), shift(pixels, torch.arange(7)))


@pytest.mark.parametrize("layout", ["imagenet-c", "parquet"])
def test_jpeg_differs_by_its_coding_alone(layout: str, images: Images, tmp_path: Path):
    write_shifts(images, tmp_path, settings(layout, format="jpeg", quality=85))
    assert isinstance(images.pixels, torch.Tensor)
    stored = read_shifts(tmp_path)[2]
    seeds = [stable_seed(5, i) for i in range(7)]
    exact = corrupt(images.pixels, stored.name, stored.severity, seeds)
    expected = torch.stack([jpeg(image, 85) for image in exact])
    assert torch.equal(in_order(stored, layout, images), expected)
    assert not torch.equal(expected, exact)


def jpeg(image: torch.Tensor, quality: int) -> torch.Tensor:
    buffer = io.BytesIO()
    pillow = require("PIL.Image")
    pillow.fromarray(image.permute(1, 2, 0).contiguous().numpy()).save(buffer, "JPEG", quality=quality)
    return torch.from_numpy(np.array(pillow.open(buffer))).permute(2, 0, 1)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_bytes_do_not_depend_on_the_number_of_processes(
    layout: str, images: Images, tmp_path: Path, small_pieces: None
):
    for number in (0, 1, 2):
        write_shifts(images, tmp_path / str(number), settings(layout), num_workers=number)
    assert files(tmp_path / "0") == files(tmp_path / "1") == files(tmp_path / "2")
    assert not list(tmp_path.rglob(".*"))


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("num_workers", [0, 1])
def test_an_interrupted_copy_leaves_nothing(
    layout: str, num_workers: int, images: Images, tmp_path: Path, small_pieces: None
):
    def interrupt(done: int, total: int) -> None:
        assert total == 30
        if done == 14:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_shifts(images, tmp_path / "out", settings(layout), num_workers=num_workers, callback=interrupt)
    assert not (tmp_path / "out").exists()


def test_a_copy_whose_command_was_killed_is_neither_read_nor_gone_on_with(images: Images, tmp_path: Path):
    wanted = settings("parquet")
    Manifest.of(images, wanted, "renorm corrupt x y").write(tmp_path / ".unfinished")
    with pytest.raises(ValueError, match=r"is not finished: .* needed, .* same command again: renorm corrupt x y"):
        read_shifts(tmp_path)
    with pytest.raises(
        ValueError, match=r"being written, or .* killed: .* needed\. Wait for it, or remove .*unfinished"
    ):
        write_shifts(images, tmp_path, wanted)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_what_lost_a_part_is_not_read(layout: str, images: Images, tmp_path: Path):
    write_shifts(images, tmp_path, settings(layout), command="renorm corrupt x y")
    (lost, *_) = sorted(
        path for path in tmp_path.rglob("*") if ("fog" in path.name and path.is_file()) or "_" in path.stem
    )
    shutil.rmtree(lost) if lost.is_dir() else lost.unlink()
    with pytest.raises(
        ValueError, match=r"0 of the 7 images of \w+ 1 .* names\. The whole .* again: renorm corrupt x y"
    ):
        read_shifts(tmp_path)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_whole_copy_is_not_written_again(
    layout: str, images: Images, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    write_shifts(images, tmp_path, settings(layout))
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*") if path.is_file()}
    write_shifts(images, tmp_path, settings(layout))
    assert {path: path.stat().st_mtime_ns for path in before} == before


def test_nothing_else_is_overwritten(images: Images, tmp_path: Path):
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "labels.npy").write_text("mine")
    with pytest.raises(ValueError, match=r"other is not empty \(labels\.npy\): .* needed.* Choose another folder"):
        write_shifts(images, tmp_path / "other", settings("cifar-c"))
    assert files(tmp_path / "other") == {"labels.npy": b"mine"}
    with pytest.raises(ValueError, match=r"labels\.npy is not empty"):
        write_shifts(images, tmp_path / "other" / "labels.npy", settings("cifar-c"))
    write_shifts(images, tmp_path / "out", settings("imagenet-c"))
    before = files(tmp_path / "out")
    for other, fields in [
        (settings("parquet"), "layout"),
        (settings("imagenet-c", scale=224), "scale"),
        (settings("imagenet-c", format="jpeg"), "format, quality"),
        (settings("imagenet-c", severities=(1,)), "severities"),
    ]:
        with pytest.raises(ValueError, match=rf"another corrupted copy; it differs in {fields}.* is needed"):
            write_shifts(images, tmp_path / "out", other)
    with pytest.raises(ValueError, match=r"differs in fingerprint, num_images"):
        write_shifts(images.subset(range(5)), tmp_path / "out", settings("imagenet-c"))
    assert files(tmp_path / "out") == before


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("num_workers", [0, 1])
def test_a_disk_that_fills_up_leaves_nothing(
    layout: str, num_workers: int, images: Images, tmp_path: Path, small_pieces: None, monkeypatch: pytest.MonkeyPatch
):
    kind = WRITERS[layout]
    write = kind.write

    def full(self: Writer, piece: Piece) -> None:
        if piece.severity == 4:
            raise OSError(errno.ENOSPC, "No space left on device")
        write(self, piece)

    monkeypatch.setattr(kind, "write", full)
    with pytest.raises(OSError, match=r"no room left for .*out \(No space .* needed, and nothing .* stays\. Free some"):
        write_shifts(images, tmp_path / "out", settings(layout), num_workers=num_workers)
    assert not (tmp_path / "out").exists()


def test_an_image_that_cannot_be_decoded_stops_the_writing(tmp_path: Path):
    for i in range(3):
        write_image(tmp_path / "in" / "a" / f"{i}.png", 100, 100)
    images = load(tmp_path / "in")
    path = tmp_path / "in" / "a" / "1.png"
    path.write_bytes(path.read_bytes()[:50])
    with pytest.raises(ValueError, match=r"^.*1\.png cannot be decoded"):
        write_shifts(images, tmp_path / "out", settings("cifar-c"), num_workers=1)


def test_file_names_are_kept(tmp_path: Path):
    for name in ("dog/deep/x.jpg", "dog/y.JPEG", "cat/x.png"):
        write_image(tmp_path / "in" / name)
    names = {
        "jpeg": ["cat/x.JPEG", "dog/deep/x.jpg", "dog/y.JPEG"],
        "png": ["cat/x.png", "dog/deep/x.png", "dog/y.png"],
    }
    for kind, expected in names.items():
        wanted = settings("imagenet-c", format=kind, severities=(2,))
        write_shifts(load(tmp_path / "in"), tmp_path / kind, wanted)
        cell = tmp_path / kind / "fog" / "2"
        assert sorted(str(path.relative_to(cell)) for path in cell.rglob("*.*")) == expected
        assert len(read_shifts(tmp_path / kind)) == 2


def test_names_that_would_clash_become_numbers(tmp_path: Path):
    for name in ("dog/x.jpg", "dog/x.png"):
        write_image(tmp_path / "in" / name)
    write_shifts(load(tmp_path / "in"), tmp_path / "out", settings("imagenet-c"))
    assert sorted(path.name for path in (tmp_path / "out" / "fog" / "1" / "dog").iterdir()) == [
        "00000000.png",
        "00000001.png",
    ]


def test_parquet_is_hugging_face_s_layout(images: Images, tmp_path: Path, small_pieces: None):
    write_shifts(images, tmp_path, settings("parquet"))
    names = sorted(path.name for path in (tmp_path / "data").iterdir())
    assert names[:3] == [f"test-fog-1-0000{i}-of-00003.parquet" for i in range(3)]
    table = require("pyarrow.parquet").read_table(tmp_path / "data" / names[1])
    assert table.column_names == ["image", "label", "corruption", "severity"]
    assert table.column("image")[0].as_py()["path"] == "00000003.png"
    metadata = json.loads(table.schema.metadata[b"huggingface"])
    assert metadata["info"]["features"]["label"] == {"_type": "ClassLabel", "names": ["b", "c", "a"]}
    everything = load(tmp_path)
    assert len(everything) == 70
    assert everything.classes == ["b", "c", "a"]


def test_parquet_keeps_images_without_labels(tmp_path: Path):
    for i in range(3):
        write_image(tmp_path / "in" / f"{i}.png")
    write_shifts(load(tmp_path / "in"), tmp_path / "out", settings("parquet"))
    assert read_shifts(tmp_path / "out")[0].images.labels.tolist() == [-1, -1, -1]


def test_the_manifest_says_how_it_was_made(images: Images, tmp_path: Path):
    made = write_shifts(images, tmp_path, settings("parquet", severities=(5, 2)), command="renorm corrupt x y")
    assert read_manifest(tmp_path) == made
    assert made.settings == CorruptionSettings(
        "parquet", ("gaussian_noise", "fog"), severities=(2, 5), seed=5, scale=32, format="png"
    )
    assert (made.data, made.fingerprint, made.num_images) == ("smooth", images.fingerprint, 7)
    assert (made.width, made.height, made.command) == (13, 11, "renorm corrupt x y")
    assert made.versions["torch"] == torch.__version__


def test_images_of_any_size_are_read_as_they_were_written(tmp_path: Path):
    for i in range(2):
        write_image(tmp_path / "in" / "a" / f"{i}.png", 120, 120)
    images = load(tmp_path / "in", size=110)
    write_shifts(images, tmp_path / "out", settings("imagenet-c", severities=(1,)))
    assert read_shifts(tmp_path / "out")[0].images[0][0].shape == (3, 110, 110)
