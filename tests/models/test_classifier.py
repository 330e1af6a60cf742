"""A classifier looks at what its model takes and gives."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.testing import assert_close

import renorm
from renorm.data import load
from renorm.models import Classifier


class Net(nn.Module):
    """A network whose output is made of two logits by a function."""

    def __init__(self, give: Callable[[Tensor], Any] = lambda y: y, channels: int = 3) -> None:
        super().__init__()
        self.give, self.conv, self.norm = give, nn.Conv2d(channels, 2, 3), nn.BatchNorm2d(2)

    def forward(self, x: Tensor) -> Any:
        return self.give(self.norm(self.conv(x)).mean((2, 3)))


def classifier(model: nn.Module, branches: tuple[str, ...] = ()) -> Classifier:
    return Classifier(model, (0.5, 0.5, 0.5), (0.2, 0.2, 0.2), branches)


def masked(y: Tensor) -> Tensor:
    return torch.where(torch.tensor([True, False]), y, -torch.inf)


@pytest.mark.parametrize("give", [lambda y: y, masked, lambda y: y.double()], ids=["plain", "masked", "double"])
def test_logits_are_given_as_float32(give: Callable[[Tensor], Any]):
    model, x = Net(give).eval(), torch.randn(3, 3, 8, 8)
    assert_close(classifier(model).answer(x), model(x).float(), rtol=0, atol=0)


@pytest.mark.parametrize(
    ("give", "message"),
    [
        (
            lambda y: {"logits": y},
            r"Net gives an output of type dict for 2 images: logits .* are needed\. Name a function, file",
        ),
        (lambda y: (y, y), r"Net gives an output of type tuple for 2 images"),
        (lambda y: y[..., None, None], r"Net gives an output of shape \(2, 2, 1, 1\) for 2 images"),
        (lambda y: y[:1], r"Net gives an output of shape \(1, 2\) for 2 images"),
        (
            lambda y: y * torch.nan,
            r"Net gives logits that are no numbers .* Finite weights, .* are needed\. Look for NaN in",
        ),
        (lambda y: y + torch.inf, r"Net gives logits that are no numbers"),
    ],
)
def test_what_are_no_logits_is_refused(give: Callable[[Tensor], Any], message: str):
    with pytest.raises(ValueError, match=message):
        classifier(Net(give).eval()).answer(torch.randn(2, 3, 8, 8))
    with pytest.raises(ValueError, match=message):
        classifier(Net(give)).check(load("digits"))


def fail(y: Tensor) -> Tensor:
    raise KeyError("image")


@pytest.mark.parametrize(
    ("model", "reason"),
    [
        (Net(channels=1), r"RuntimeError: .*1 channels"),
        (Net(fail), "KeyError: 'image'"),
        (nn.Bilinear(1, 1, 1), "TypeError"),
    ],
)
def test_what_a_model_cannot_take_is_refused(model: nn.Module, reason: str):
    with pytest.raises(
        ValueError,
        match=rf"fails on images of shape \(2, 3, 16, 16\) \({reason}.*\)\. A network that .* is needed\. Name a function",
    ):
        classifier(model).check(load("digits"))


def test_looking_leaves_the_model_as_it_was():
    model = Net()
    renorm.split_(model, ["weak", "strong"])
    model.conv.eval()
    before = {key: value.clone() for key, value in model.state_dict().items()}
    classifier(model, ("weak", "strong")).check(load("digits"))  # no warning that no route is open
    assert_close(dict(model.state_dict()), before, rtol=0, atol=0)
    assert model.training
    assert model.norm.training
    assert not model.conv.training
