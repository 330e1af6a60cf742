from __future__ import annotations

import pytest
import torch
from torch.testing import assert_close

from renorm.data import load
from renorm.extras import require


def test_the_two_splits_are_stratified_and_make_up_the_whole():
    train, test = load("digits", "train"), load("digits", "test")
    assert (len(train), len(test)) == (1347, 450)
    shares = test.labels.bincount() / (test.labels.bincount() + train.labels.bincount())
    assert_close(shares, torch.full((10,), 0.25), rtol=0, atol=0.005)
    whole = torch.from_numpy(require("sklearn.datasets").load_digits().target)
    assert_close(train.labels.bincount() + test.labels.bincount(), whole.bincount())


def test_the_splits_are_the_same_in_every_version():
    assert load("digits", "train").fingerprint == "6483757dc135ee31"
    assert load("digits", "test").fingerprint == "0b6479b115b4fe57"


def test_grey_values_fill_the_range_and_the_channels_are_alike():
    images = load("digits", size=8)
    pixels, _ = images.batch(range(len(images)))
    assert (int(pixels.min()), int(pixels.max())) == (0, 255)
    assert_close(pixels[:, 0], pixels[:, 2])


def test_mean_and_standard_deviation_are_those_of_the_pixels():
    pixels = torch.cat([load("digits", split).batch(range(450))[0] for split in ("train", "test")]) / 255
    assert_close(torch.tensor(load("digits").mean[0]), pixels.mean(), rtol=0, atol=0.01)
    assert_close(torch.tensor(load("digits").std[0]), pixels.std(), rtol=0, atol=0.01)


def test_size():
    assert load("digits")[0][0].shape == (3, 16, 16)
    assert load("digits", size=32)[0][0].shape == (3, 32, 32)


def test_an_unknown_split_or_a_second_division_is_refused():
    with pytest.raises(ValueError, match=r"digits has no split 'tets'\. It has test, train\. Use 'test'"):
        load("digits", "tets")
    with pytest.raises(ValueError, match=r"holdout=0\.2 would divide them again.*Leave holdout out"):
        load("digits", holdout=0.2)
