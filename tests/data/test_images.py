from __future__ import annotations

import pickle
from pathlib import Path

import pytest
import torch
from torch.testing import assert_close
from torch.utils.data import DataLoader

from renorm.data import Images, load, sample
from tests.data.pictures import structs, write_parquet

GREYS = [11, 22, 33, 44, 55]


@pytest.fixture(params=[8, 100], ids=["decoded", "encoded"])
def images(request: pytest.FixtureRequest, tmp_path: Path) -> Images:
    columns = {"image": structs(GREYS, request.param), "label": [0, 1, 0, 1, 2], "domain": ["b", "a", "b", "c", "a"]}
    return load(write_parquet(tmp_path / "x.parquet", columns))


def greys(images: Images) -> list[int]:
    return [int(image[0, 0, 0]) for image, _ in images]


def test_items_are_uint8_images_and_int_labels(images: Images):
    image, label = images[4]
    assert image.dtype == torch.uint8
    assert image.shape[0] == 3
    assert label == 2
    assert type(label) is int
    assert greys(images) == GREYS


def test_subset_keeps_labels_and_domains_with_their_images(images: Images):
    part = images.subset([3, 0]).subset(torch.tensor([1, 0]))
    assert greys(part) == [11, 44]
    assert part.labels.tolist() == [0, 1]
    assert part.domain is not None
    assert [(part.domains or [])[i] for i in part.domain] == ["b", "c"]


def test_batch_equals_the_items(images: Images):
    pixels, labels = images.batch([4, 1])
    assert_close(pixels, torch.stack([images[4][0], images[1][0]]))
    assert labels.tolist() == [2, 1]


def test_a_data_loader_takes_them(images: Images):
    pixels, labels = next(iter(DataLoader(images, batch_size=3)))
    assert_close(pixels, images.batch(range(3))[0])
    assert labels.tolist() == [0, 1, 0]
    assert greys(pickle.loads(pickle.dumps(images))) == GREYS  # as workers receive them


def test_the_fingerprint_is_of_the_content(images: Images, tmp_path: Path):
    again = images.subset(range(5))
    assert again.fingerprint == images.fingerprint
    assert images.subset([1, 0, 2, 3, 4]).fingerprint != images.fingerprint
    assert images.subset(range(4)).fingerprint != images.fingerprint


def test_samples_are_seeded_and_without_replacement(images: Images):
    assert sorted(greys(sample(images, 5, seed=3))) == GREYS
    assert greys(sample(images, 3, seed=3)) == greys(sample(images, 3, seed=3))
    assert len({tuple(greys(sample(images, 3, seed=seed))) for seed in range(20)}) > 5


@pytest.mark.parametrize("n", [0, 6])
def test_a_sample_too_large_or_empty_is_refused(n: int, images: Images):
    with pytest.raises(ValueError, match=rf"{n} images cannot be drawn from the 5 of .*Draw between 1 and 5"):
        sample(images, n)


def test_repr_says_what_there_is(images: Images):
    assert "5 of" in repr(images)
    assert "3 classes, domains a, b, c" in repr(images)
