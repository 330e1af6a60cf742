"""Images that were read are scored as those that are made: a written copy gives the same table."""

from pathlib import Path

import numpy as np
import pytest
import torch

from renorm.data import Images, sample
from renorm.evaluate import Choice, Classifier, differences, evaluate, mean_accuracy
from renorm.shifts import make_shifts, read_shifts
from tests.evaluate.conftest import make_view

CHOICES = {"weak": Choice("weak")}


@pytest.fixture
def folder(images: Images, tmp_path: Path) -> Path:
    """The images under contrast as CIFAR-10-C has them."""
    made = [shift(images.batch(range(48))[0], torch.arange(48)) for shift in make_shifts(["contrast"], make_view)]
    np.save(tmp_path / "contrast.npy", torch.cat(made).permute(0, 2, 3, 1).numpy())
    np.save(tmp_path / "labels.npy", images.labels.repeat(5).numpy())
    return tmp_path


def test_a_written_copy_gives_the_table_of_the_images_it_was_made_of(
    classifier: Classifier, images: Images, folder: Path
):
    read = read_shifts(folder, classes=images.classes)
    assert [shift.label for shift in read] == [f"contrast {severity}" for severity in range(1, 6)]
    again = evaluate(classifier, None, CHOICES, read)
    made = evaluate(classifier, images, CHOICES, make_shifts(["contrast"], make_view))
    assert again.rows == made.rows
    assert all(torch.equal(hits, made.hits[cell]) for cell, hits in again.hits.items())
    assert mean_accuracy(again, "weak", ["contrast"]) == mean_accuracy(made, "weak", ["contrast"])
    assert again.protocol.pixels("contrast", 1)["rounding"] == "stored"
    assert again.protocol.data is None
    with pytest.raises(ValueError, match="differ in rounding under contrast 1: 8-bit and stored"):
        differences(made, again)
    assert len(differences(again, again)) == 5


def test_of_fewer_images_the_same_ones_are_drawn(images: Images, folder: Path):
    read = read_shifts(folder, classes=images.classes, num_images=10, seed=3)
    assert all(
        shift.images is not None and torch.equal(shift.images.labels, sample(images, 10, 3).labels) for shift in read
    )
    assert {shift.seed for shift in read} == {3}
    everything = read_shifts(folder, classes=images.classes, num_images=99)
    assert all(shift.images is not None and len(shift.images) == 48 for shift in everything)


def test_data_that_lack_a_shift_say_so(tmp_path: Path):
    with pytest.raises(FileNotFoundError, match=r"nothing at .*none"):
        read_shifts(tmp_path / "none")
