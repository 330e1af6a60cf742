"""Images tell how they were read, and can be read again."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from renorm.data import Images, Origin, load, read_again, sample
from renorm.evaluate import ImageSet, Protocol
from tests.data.pictures import write_image


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for number in range(8):
        write_image(tmp_path / "photos" / "ab"[number % 2] / f"{number}.png", 14, 14, (number, 3, 5))
    return tmp_path / "photos"


def same(a: Images, b: Images) -> bool:
    return a.fingerprint == b.fingerprint


def test_a_name_and_a_path_are_read_again(folder: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(folder.parent)
    for given, split, path in (("digits", "test", ""), ("photos", "", str(folder))):
        images = sample(load(given, split or None, size=12), 5, seed=3)
        labels = "" if given == "digits" or not images.classes else "folders"
        origin = Origin(given, path, split, 12, drawn=(5, 3), labels=labels)
        assert images.origin == origin
        monkeypatch.chdir("/")
        assert same(read_again(origin), images)
        monkeypatch.chdir(folder.parent)


def test_moved_images_are_read_where_they_are_now(folder: Path):
    images = load(folder)
    assert images.origin is not None
    moved = folder.rename(folder.with_name("elsewhere"))
    with pytest.raises(FileNotFoundError, match="photos"):
        read_again(images.origin)
    assert same(read_again(images.origin, moved), images)


def test_an_arbitrary_part_has_no_origin():
    images = load("digits", "test")
    assert images.subset([2, 1]).origin is None
    assert images.origin == Origin("digits", split="test")


def test_a_domain_is_read_again():
    whole = load("digits", "test")
    parts = replace(whole, domains=["a", "b"], domain=torch.arange(len(whole)) % 2)
    assert parts.of_domain("b").origin == Origin("digits", split="test", domain="b")
    assert torch.equal(parts.of_domain("b").labels, whole.labels[1::2])
    with pytest.raises(ValueError, match="no image of the domain c is among the 450 of digits"):
        parts.of_domain("c")


def test_a_protocol_keeps_the_origin_and_compares_the_images():
    images = sample(load("digits", "test"), 5, seed=3)
    found = ImageSet.of(images)
    again = Protocol.from_json(Protocol(data=found, stored={"x": found}).to_json())
    assert again.data is not None
    assert again.data.origin == images.origin == again.stored["x"].origin
    assert ImageSet.of(replace(images, origin=None)) == found
