from __future__ import annotations

import errno
import io
from pathlib import Path

import pytest
import torch
from torch.testing import assert_close

from renorm import data
from renorm.data import load
from renorm.data.blobs import Files
from renorm.data.decode import Encoded, named
from renorm.data.frame import CROPPED
from renorm.extras import require


def ramp(width: int, height: int) -> torch.Tensor:
    """Red grows from left to right, green from top to bottom."""
    rows, columns = torch.linspace(0, 255, height), torch.linspace(0, 255, width)
    channels = [columns.expand(height, width), rows[:, None].expand(height, width), torch.full((height, width), 50.0)]
    return torch.stack(channels).round().to(torch.uint8)


def write(path: Path, width: int, height: int) -> Path:
    buffer = io.BytesIO()
    image = require("PIL.Image").fromarray(ramp(width, height).permute(1, 2, 0).contiguous().numpy())
    image.save(buffer, "JPEG" if path.suffix == ".jpg" else "PNG", **({"quality": 95} if path.suffix == ".jpg" else {}))
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(buffer.getvalue())
    return path


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for i, (width, height) in enumerate([(320, 256), (300, 512)]):
        write(tmp_path / "a" / f"{i}.png", width, height)
    return tmp_path


def test_larger_images_are_evaluated_on_seven_eighths_of_their_shorter_side(folder: Path):
    shown = load(folder)[0][0].float()
    assert shown.shape == (3, 224, 224)
    assert_close(shown[1, 0, 0].item(), 255 * 16 / 256, rtol=0, atol=2)
    assert_close(shown[1, -1, 0].item(), 255 * 240 / 256, rtol=0, atol=2)
    assert_close(shown[0, 0, 0].item(), 255 * 48 / 320, rtol=0, atol=2)
    assert_close(shown[0, 0, -1].item(), 255 * 272 / 320, rtol=0, atol=2)


def test_timms_evaluation_shows_the_same(folder: Path):
    transform = require("timm.data").create_transform(
        (3, 224, 224), crop_pct=CROPPED, interpolation="bilinear", mean=(0, 0, 0), std=(1, 1, 1)
    )
    for i in range(2):
        theirs = 255 * transform(require("PIL.Image").open(folder / "a" / f"{i}.png"))
        assert_close(load(folder)[i][0].float(), theirs, rtol=0, atol=2)


def test_an_image_that_has_the_size_is_not_scaled(tmp_path: Path):
    write(tmp_path / "1.png", 224, 224)
    assert torch.equal(load(tmp_path)[0][0], ramp(224, 224))


def test_small_images_are_not_cut(tmp_path: Path):
    write(tmp_path / "1.png", 64, 64)
    shown = load(tmp_path, size=32)[0][0].float()
    assert shown[0, 0, 0] < 5
    assert shown[0, 0, -1] > 250


def test_whole_images_keep_their_sizes_and_pixels(folder: Path):
    images = load(folder)
    whole = images.whole()
    assert torch.equal(whole[0][0], ramp(320, 256))
    assert torch.equal(whole.subset([1])[0][0], ramp(300, 512))
    assert whole.labels.tolist() == images.labels.tolist()
    assert images[1][0].shape == (3, 224, 224)


def test_the_clean_view_of_a_whole_image_is_what_evaluation_shows(folder: Path):
    images = load(folder)
    for i in range(2):
        shown = data.view("clean", 224)(images.whole()[i][0])
        assert_close(shown.float(), images[i][0].float(), rtol=0, atol=2)


def test_small_images_are_whole_as_they_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    write(tmp_path / "1.png", 40, 30)
    images = load(tmp_path)
    assert images.whole() is images
    monkeypatch.setattr("renorm.data.decode.DECODED_BYTES", 0)  # as if there were too many to decode at once
    many = load(tmp_path, size=32)
    assert isinstance(many.pixels, Encoded)
    assert many.whole()[0][0].shape == (3, 32, 32)


@pytest.mark.parametrize(
    ("width", "height", "expected"), [(800, 500, (500, 800)), (801, 1000, (500, 401)), (2000, 1640, (410, 500))]
)
def test_a_jpeg_of_more_detail_than_crops_show_is_decoded_smaller(
    width: int, height: int, expected: tuple[int, int], tmp_path: Path
):
    write(tmp_path / "1.jpg", width, height)
    image = load(tmp_path, size=100).whole()[0][0]
    assert image.shape[1:] == expected
    assert min(expected) >= 400 or min(width, height) < 800  # four times the size
    assert_close(image[0, 0, -1].item(), 255, rtol=0, atol=4)


def test_half_a_jpeg_is_named(tmp_path: Path):
    content = write(tmp_path / "1.jpg", 400, 300).read_bytes()
    (tmp_path / "1.jpg").write_bytes(content[: len(content) // 2])
    with pytest.raises(ValueError, match=r"1\.jpg cannot be decoded \(OSError.*Replace it or take it out"):
        load(tmp_path).whole()[0]


def test_an_image_that_may_not_be_read_is_not_called_damaged():
    with (
        pytest.raises(
            ValueError, match=r"a\.png cannot be read \(Permission denied\): .* is needed\. Ask its owner for chmod"
        ),
        named(Files("folder", ["a.png"]), 0),
    ):
        raise PermissionError(errno.EACCES, "Permission denied")
