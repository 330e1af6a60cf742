"""Stored images as a view: those of the same path, cut as the weak view cuts the images themselves."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from renorm.data import Images, load, seeded
from renorm.recipes.classify import Classification, configured
from renorm.recipes.classify.stored import paired
from renorm.recipes.classify.views import ViewedImages

NAMES = ("cat/a", "cat/b", "cat/c", "dog/a", "dog/b", "dog/c")


def written(folder: Path, suffix: str = ".png", seed: int = 0, side: int = 16, names: tuple[str, ...] = NAMES) -> str:
    """A folder of classes, of noise that the seed and an image's name decide."""
    for name in names:
        path = folder / f"{name}{suffix}"
        path.parent.mkdir(parents=True, exist_ok=True)
        noise = np.random.default_rng([seed, *name.encode()]).integers(0, 256, (side, side, 3), dtype=np.uint8)
        Image.fromarray(noise).save(path)
    return str(folder)


def recipe(data: str, **options: Any) -> Classification:
    given = {"model": "resnet8", "batch": 4, "num_workers": 0, "branches": ("weak", "stylized"), **options}
    return Classification(configured(data=data, **given), device="cpu")


def test_a_branch_is_shown_the_stored_image_of_the_same_path(tmp_path: Path):
    data, out = written(tmp_path / "in"), written(tmp_path / "out", ".bmp", seed=1)
    made = recipe(data, stylized=out)
    stored = load(out, "train", holdout=0.2)
    assert len(made.images) == len(stored) < len(NAMES)
    view = made.config.view("weak", 16)
    for index in range(len(stored)):
        views, label = made.data[3, index]
        assert label == stored[index][1]
        assert torch.equal(views[1], seeded(view, stored[index][0], made.config.seed, 3, index, "stylized"))
        assert not torch.equal(views[1], seeded(view, made.images[index][0], made.config.seed, 3, index, "stylized"))
        assert torch.equal(views[0], ViewedImages(made.images, made.views, made.config.seed)[3, index][0][0])
    assert made.describe()["config"]["augmentation"]["stylized"] == out


def test_pairs_are_found_by_path_not_by_place(tmp_path: Path):
    images = load(written(tmp_path / "in"))
    more = written(tmp_path / "out", seed=1, names=("cat/0", *NAMES, "dog/0"))
    found = paired(images, more)
    assert found.files == images.files
    assert found.labels.tolist() == images.labels.tolist()
    assert not torch.equal(found[0][0], load(more)[0][0])  # what the place alone would give


def test_without_names_they_are_paired_by_place_where_labels_agree(tmp_path: Path):
    found = load(written(tmp_path / "out"))
    images = Images("made", found.pixels, found.labels, found.classes)
    assert torch.equal(paired(images, str(tmp_path / "out"))[2][0], found[2][0])
    with pytest.raises(ValueError, match="without names by which they could be paired"):
        paired(images.subset([0, 1]), str(tmp_path / "out"))


def test_what_does_not_fit_is_refused(tmp_path: Path):
    data = written(tmp_path / "in")
    with pytest.raises(ValueError, match="the view stylized shows stored images, and none are named"):
        recipe(data)
    with pytest.raises(ValueError, match=r"--stylized out with the views weak strong: it would do nothing"):
        recipe(data, branches=("weak", "strong"), stylized="out")
    with pytest.raises(FileNotFoundError, match="there is nothing at"):
        recipe(data, stylized=str(tmp_path / "nowhere"))
    few = written(tmp_path / "few", names=(*NAMES[:-1], "dog/d"))
    with pytest.raises(ValueError, match=r"few lacks 1 of the 6 images of .*, as dog/c: one for each is needed"):
        paired(load(data), few)
    with pytest.raises(ValueError, match=r"has images of 24 x 24 pixels, and .* of 16 x 16: the same size is needed"):
        recipe(data, stylized=written(tmp_path / "large", side=24))
