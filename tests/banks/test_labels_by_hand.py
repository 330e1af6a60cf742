"""A branch is asked for, and the model itself gives its sites labels: both must say the same."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.testing import assert_close

import renorm
from renorm.layers import SandwichBatchNorm, SplitBatchNorm

CLASSES = ["0", "1", "2", "3"]
Labels = Any


class Conditional(nn.Module):
    """A network that tells its norms the classes."""

    def __init__(self, kind: Any = SplitBatchNorm, labels: Labels = None) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.conv, self.bn, self.labels = nn.Conv2d(3, 4, 1), kind(4, CLASSES), labels
        self.bn.name = "bn"

    def forward(self, x: Tensor, y: Labels = None) -> Tensor:
        return self.bn(self.conv(x), self.labels if y is None else y).mean((2, 3))


def images() -> Tensor:
    return torch.rand(6, 3, 4, 4, generator=torch.Generator().manual_seed(0))


def predicted(model: nn.Module) -> None:
    with renorm.prediction_time(model.eval(), branch="3"):
        model(images())


VERBS: dict[str, Callable[[nn.Module], Any]] = {
    "measure": lambda model: renorm.measure(model, [images()], branch="3"),
    "recalibrate_": lambda model: renorm.recalibrate_(model, [images()], branch="3"),
    "adapt_": lambda model: renorm.adapt_(model, images(), branch="3", prior=16),
    "prediction_time": predicted,
    "pgd": lambda model: renorm.attacks.pgd(model, images(), torch.zeros(6, dtype=torch.int64), branch="3", steps=1),
}
OTHER: dict[str, Labels] = {
    "another name": "1",
    "another index": 1,
    "another label": torch.tensor(1),
    "one sample of another": torch.tensor([3, 3, 3, 3, 3, 1]),
}
SAME: dict[str, Labels] = {"name": "3", "index": 3, "label": torch.tensor(3), "labels": torch.full((6,), 3)}


@pytest.mark.parametrize("kind", [SplitBatchNorm, SandwichBatchNorm])
@pytest.mark.parametrize("labels", OTHER)
@pytest.mark.parametrize("verb", VERBS)
def test_labels_of_another_branch_are_refused(verb: str, labels: str, kind: Any) -> None:
    model = Conditional(kind, OTHER[labels]).eval()
    before = {key: value.clone() for key, value in model.state_dict().items()}
    with pytest.raises(
        ValueError, match=r"site 'bn' is given its labels by the model itself.*asked for, '3'.*forward="
    ):
        VERBS[verb](model)
    assert_close(model.state_dict(), before, rtol=0, atol=0)
    assert model.bn.route.demanded is None
    model(images())  # free again


@pytest.mark.parametrize("labels", SAME)
def test_labels_of_the_branch_are_what_was_asked_for(labels: str) -> None:
    model = Conditional(labels=SAME[labels])
    routed = Conditional(labels=None)
    bank = renorm.measure(model, [images()], branch="3")
    assert_close(bank.sites["bn"].mean, model.conv(images()).mean((0, 2, 3)).detach())
    for verb in VERBS.values():
        verb(model)
    assert_close(bank.sites["bn"].var, renorm.measure(routed, [images()], branch="3").sites["bn"].var)


def test_the_labels_can_be_given_by_the_forward_of_the_verb() -> None:
    model = Conditional(labels=torch.arange(6) % 4)
    bank = renorm.measure(model, [images()], branch="3", forward=lambda model, x: model(x, 3))
    assert_close(bank.sites["bn"].mean, model.conv(images()).mean((0, 2, 3)).detach())
