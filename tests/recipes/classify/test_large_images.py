"""The usual recipe for ImageNet on a folder of a few larger images: random parts of whole images, evaluated on centres."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from torch.testing import assert_close

from renorm.data.decode import Encoded
from renorm.extras import require
from renorm.recipes.classify import Classification, Config, configured, read


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("large")
    generator = torch.Generator().manual_seed(0)
    for split, count in (("train", 4), ("test", 2)):
        for label in "ab":
            (path / split / label).mkdir(parents=True)
            for i in range(count):
                shape = [[150, 200, 3], [220, 120, 3]][i % 2]
                pixels = torch.randint(0, 256, [s // 10 + 1 for s in shape[:2]] + [3], generator=generator)
                image = require("PIL.Image").fromarray(pixels.to(torch.uint8).numpy()).resize((shape[1], shape[0]))
                image.save(path / split / label / f"{i}.jpg")
    return path


def config(folder: Path, **changes: object) -> Config:
    options = {"size": 104, "model": "resnet8", "batch": 12, "branches": ("weak", "strong", "clean"), **changes}
    return configured(data=str(folder), **options)


def test_training_takes_parts_of_whole_images_and_evaluation_centres(folder: Path):
    recipe = Classification(config(folder))
    assert isinstance(recipe.images.pixels, Encoded)
    assert recipe.images[0][0].shape == (3, 104, 104)
    losses = [recipe.step(batch)["loss"] for epoch in range(2) for batch in recipe.batches(epoch, 0)]
    assert len(losses) == 4
    assert all(math.isfinite(loss) for loss in losses)
    assert set(recipe.validate()) == {"test/weak", "test/strong", "test/clean"}


def test_the_clean_branch_sees_what_evaluation_shows(folder: Path):
    recipe = Classification(config(folder))
    for index in range(8):
        views, label = recipe.data[0, index]
        image, expected = recipe.images[index]
        assert views.shape == (3, 3, 104, 104)
        assert label == expected
        assert_close(views[2].float(), image.float(), rtol=0, atol=2)
        assert not torch.equal(views[0], recipe.data[1, index][0][0])


@pytest.mark.parametrize("crop", ["padded", "resized"])
def test_workers_do_not_change_the_batches(crop: str, folder: Path):
    alone = Classification(config(folder, crop=crop, strong="augmix"))
    workers = Classification(config(folder, crop=crop, strong="augmix", num_workers=2))
    for one, two in zip(alone.batches(1, 0), workers.batches(1, 0), strict=True):
        assert torch.equal(one[0], two[0])
        assert torch.equal(one[1], two[1])


def test_padded_crops_move_the_centre_that_evaluation_shows(folder: Path):
    recipe = Classification(config(folder, crop="padded", branches=("weak", "clean"), batch=8))
    found = 0
    for index in range(8):
        weak, clean = recipe.data[0, index][0].float()
        inner = clean[:, 40:64, 40:64]
        places = [
            (
                weak[:, 40 + top : 64 + top, 40 + left : 64 + left],
                weak.flip(-1)[:, 40 + top : 64 + top, 40 + left : 64 + left],
            )
            for top in range(-13, 14)
            for left in range(-13, 14)
        ]
        found += any(bool((a - inner).abs().max() < 3) or bool((b - inner).abs().max() < 3) for a, b in places)
    assert found == 8


def test_splits_and_labels_are_those_of_the_folder(folder: Path):
    train, test = read(config(folder))
    assert train.classes == test.classes == ["a", "b"]
    assert train.labels.tolist() == [0] * 4 + [1] * 4
    assert len(test) == 4
