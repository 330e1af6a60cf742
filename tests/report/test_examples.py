"""Examples are the very images of the table: same draw, same pixels, and nothing where these are gone."""

import base64
import io
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from torch import Tensor

from renorm.data import Images, Origin, load, sample
from renorm.evaluate import ImageSet, Protocol, Results
from renorm.recipes.classify import configured
from renorm.report.record import Record
from renorm.report.sections import examples
from renorm.report.sections.examples import NUM, SIDE, Strip, Views, find_images, find_stored, illustrate
from renorm.shifts import make_shifts
from tests.report.made import record, results

TEST = load("digits", split="test")
CELLS = {
    ("weak", shift, s): 0.5 for shift, s in (("clean", 0), ("strong", 0), ("contrast", 3), ("contrast", 1), ("fog", 2))
}


def of(images: Images, cells: dict = CELLS, **protocol: Any) -> Record:
    """A run whose table says that it was made of some images."""
    made = Protocol(data=ImageSet.of(images), scale=32, rounding="8-bit", seed=7)
    run = record("run", data="digits")
    return replace(run, results=Results(replace(made, **protocol), results(cells).rows))


def views(images: Images) -> Views:
    return lambda name: configured().view(name, images[0][0].shape[-1])


def decoded(strip: Strip) -> Tensor:
    with Image.open(io.BytesIO(base64.b64decode(strip.uri().partition("base64,")[2]))) as image:
        assert image.format == "JPEG"
        pixels = torch.frombuffer(bytearray(image.tobytes()), dtype=torch.uint8)
        return pixels.view(image.height, image.width, 3).permute(2, 0, 1)


def test_strips_show_what_evaluation_saw():
    images = sample(TEST, 60, 7)
    strips, missing = illustrate(of(images), views)
    assert missing == ""
    assert [(s.name, s.family, s.captions) for s in strips] == [
        ("clean", "", ()), ("weak", "", ()), ("strong", "", ()), ("fog", "weather", ("2",)), ("contrast", "digital", ("1", "3")),
    ]  # fmt: skip
    by_name = {strip.name: strip.pixels for strip in strips}
    config = configured()
    strong, fog = make_shifts(["strong", "fog:2"], lambda name: config.view(name, 16), 7, scale=32)
    indices = torch.linspace(0, 59, NUM).long()
    pixels = images.batch(indices)[0]
    assert torch.equal(by_name["clean"], pixels)
    assert torch.equal(by_name["strong"], strong(pixels, indices))
    assert torch.equal(by_name["fog"], fog(pixels[:1], indices[:1]))
    assert not torch.equal(by_name["contrast"][0], by_name["contrast"][1])


def test_without_rounding_pixels_are_still_bytes():
    strips, _ = illustrate(of(TEST, rounding="none"), views)
    assert all(strip.pixels.dtype == torch.uint8 for strip in strips)


def test_a_strip_is_a_picture_of_its_images_side_by_side():
    ramp = torch.arange(0, 256, 16, dtype=torch.uint8).expand(3, 16, 16)
    pixels = torch.stack([ramp, ramp.transpose(1, 2), ramp.flip(2)])
    found = decoded(Strip("x", "", (), pixels))
    assert found.shape == (3, 16, 3 * 16 + 2)
    assert (found[:, :, 17:33].int() - pixels[1].int()).abs().float().mean() < 4  # as near as JPEG keeps it
    assert (found[:, :, 16] > 240).all()


def test_large_images_are_scaled_down():
    found = decoded(Strip("x", "", (), torch.full((2, 3, 200, 100), 9, dtype=torch.uint8)))
    assert found.shape == (3, SIDE, 2 * 48 + 2)
    assert (found[:, :, :44] == 9).all()


def test_images_that_have_changed_are_not_shown():
    other = of(replace(TEST, pixels=255 - TEST.batch(range(len(TEST)))[0]))
    strips, missing = illustrate(other, views)
    assert strips == []
    assert "The 450 images of digits that the table was made of are not where they were, or have changed, or" in missing
    assert "renorm report --data" in missing
    assert find_images(of(replace(TEST, labels=TEST.labels.flip(0)))) is None
    gone = of(replace(TEST, origin=Origin("x", "/no/where", "test")))
    assert find_images(gone) is None
    assert find_images(replace(gone, data="digits")) is not None


def test_a_table_that_does_not_say_where_its_images_are_must_be_told():
    older = of(replace(sample(TEST, 60, 7), origin=None))
    assert find_images(older) is None
    found = find_images(replace(older, data="digits"))
    assert found is not None
    assert len(found) == 60


def test_other_images_that_are_given_are_refused(photos: Path):
    with pytest.raises(
        ValueError, match=r"the images in .*photos are not the 450 of digits that the table of run.*Name the"
    ):
        find_images(replace(of(TEST), data=str(photos)))
    with pytest.raises(FileNotFoundError, match="nothing at /no/where"):
        find_images(replace(of(TEST), data="/no/where"))


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Folders of one class each, for training and testing."""
    for number, name in enumerate(("3", "5")):
        for i in range(5):
            path = tmp_path / "photos" / name / f"{i}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.new("RGB", (12, 12), (40 * i, 100 * number, 7)).save(path)
    return tmp_path / "photos"


def test_images_are_read_as_the_table_read_them(photos: Path):
    test = sample(load(str(photos), "test", size=10, holdout=0.5), 3, 1)
    found = find_images(of(test, {("weak", "clean", 0): 0.5}))
    assert found is not None
    assert torch.equal(found.labels, test.labels)
    assert found[0][0].shape == (3, 10, 10)


def test_a_table_that_says_nothing_has_no_examples():
    strips, missing = illustrate(replace(record(), results=Results(Protocol(), results().rows)), views)
    assert strips == []
    assert "does not say what images" in missing


def test_stored_shifts_are_read_again_from_their_folder(photos: Path):
    origins = {"photos": Origin("photos", str(photos), drawn=(0, 0)), "lost": Origin("lost", "/no/lost")}
    stored = {name: ImageSet(name, 10, "p", "l", origin=origin) for name, origin in origins.items()}
    run = of(TEST, {("weak", name, 0): 0.5 for name in stored}, data=None, stored=stored)
    strips, missing = illustrate(run, views)
    assert [(strip.name, strip.family, len(strip.pixels)) for strip in strips] == [("photos", "other images", NUM)]
    assert missing == "No longer found are the images of lost."


def test_domains_are_parts_of_the_data(monkeypatch: pytest.MonkeyPatch):
    images = replace(TEST, domains=["art", "photo"], domain=torch.arange(len(TEST)) % 2)
    monkeypatch.setattr(examples, "read_again", lambda origin: images.of_domain(origin.domain))
    stored = {"photo": ImageSet("digits", 225, "p", "l", origin=Origin("digits", split="test", domain="photo"))}
    found = find_stored(of(TEST, {("weak", "photo", 0): 0.5}, stored=stored))
    assert list(found) == ["photo"]
    assert torch.equal(found["photo"].labels, TEST.labels[1::2])
