"""One batch is what is given: not one image, not a loader."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

import renorm
from renorm.models import ResNet

DATA = TensorDataset(torch.randn(8, 3, 12, 12), torch.zeros(8))
LOADER = DataLoader(DATA, batch_size=4)
VERBS: dict[str, Callable[[nn.Module, Tensor], Any]] = {
    "adapt_": renorm.adapt_,
    "adapt_, prior": lambda model, x: renorm.adapt_(model, x, prior=3),
    "measure": lambda model, x: renorm.measure(model, [x]),
    "recalibrate_": lambda model, x: renorm.recalibrate_(model, [x]),
    "Adapter": lambda model, x: renorm.Adapter(model)(x),
}


@pytest.mark.parametrize("split", [False, True])
@pytest.mark.parametrize("verb", VERBS)
def test_an_image_without_a_batch_is_named_with_its_remedy(verb: str, split: bool):
    model = ResNet(8, 4).eval()
    if split:
        renorm.split_(model, ["weak"])
    before = {key: value.clone() for key, value in model.state_dict().items()}
    with pytest.raises(
        ValueError, match=r"site 'bn1' got .* \(16, 12, 10\), an image without a batch .* Pass images\[None\]"
    ):
        VERBS[verb](model, torch.randn(3, 12, 10))
    for key, value in model.state_dict().items():
        torch.testing.assert_close(value, before[key], rtol=0, atol=0)


def test_an_image_as_high_as_there_are_channels(monkeypatch: pytest.MonkeyPatch):
    with pytest.raises(ValueError, match=r"\(16, 16, 16\), an image without a batch"):
        renorm.adapt_(ResNet(8, 4), torch.randn(3, 16, 16))


@pytest.mark.parametrize("verb", [renorm.adapt_, lambda model, x: renorm.Adapter(model)(x)])
@pytest.mark.parametrize(
    ("images", "message"),
    [
        (
            LOADER,
            r"a DataLoader was given, which gives batches .*\. One batch is needed here\. Pass next\(iter\(loader\)\)",
        ),
        (iter(LOADER), r"Iter was given, which gives batches"),
        ((x for x in LOADER), r"a generator was given, which gives batches"),
        (
            DATA,
            r"a TensorDataset was given, which gives images one by one\. One .* next\(iter\(torch.utils.data.DataLoader\(",
        ),
        (
            np.zeros((4, 3, 8, 8), np.float32),
            r"an array of type ndarray was given\. .* Pass torch.from_numpy\(images\)",
        ),
        ("photos", r"a batch of type str without tensors was given"),
    ],
)
def test_a_loader_is_no_batch(verb: Callable[[nn.Module, Any], Any], images: Any, message: str):
    with pytest.raises(TypeError, match=message):
        verb(ResNet(8, 4), images)


def test_sequences_and_signals_are_batches():
    model = nn.Sequential(nn.Conv1d(3, 4, 1), nn.BatchNorm1d(4))
    assert renorm.adapt_(model, torch.randn(6, 3, 8)).samples == 6
    assert renorm.adapt_(nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4)), torch.randn(4, 3)).samples == 4
