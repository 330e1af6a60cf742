"""Models that are made under inference mode train."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn

import renorm
from tests.surgery.zoo import Doubling, around, images, small

BRANCHES = ["weak", "strong"]


def convert(convert_: Any = renorm.split_, **options: Any) -> Callable[[Any], Any]:
    def inside(model: Any) -> Any:
        convert_(model, BRANCHES, **options)
        return model

    return inside


def add(model: Any) -> Any:
    renorm.add_branch_(model, "clean", like="weak")
    return model


def undo(model: Any) -> Any:
    with torch.inference_mode(False):
        report = renorm.split_(model, BRANCHES)
    report.undo()
    return model


def fold(model: Any) -> Any:
    return renorm.fold(model, "strong", probe=images())


def unknown() -> Any:
    return nn.Sequential(nn.Conv2d(3, 5, 1), *around(Doubling(5)))


MAKERS: dict[str, tuple[Callable[[], Any], Callable[[Any], Any]]] = {  # outside of inference mode, and inside
    "split_": (small, convert()),
    "split_, drawn": (small, convert(init="published", generator=torch.Generator().manual_seed(0))),
    "split_ of a part": (small, convert(sites="1", sync="world")),
    "split_ by copies": (unknown, convert()),
    "sandwich_": (small, convert(renorm.sandwich_)),
    "add_branch_": (lambda: convert()(small()), add),
    "add_branch_ by copies": (lambda: convert()(unknown()), add),
    "fold": (lambda: convert()(small()), fold),
    "fold of copies": (lambda: convert()(unknown()), fold),
    "undo": (small, undo),
}


def trains(model: nn.Module) -> None:
    """A step of training moves every tensor that it should, in place and by gradients."""
    before = {key: t.clone() for key, t in model.state_dict().items()}
    optimizer = torch.optim.SGD(model.parameters(), 0.1, momentum=0.9)
    for _ in range(2):
        if renorm.routing.route_of(model) is None:
            y = model.train()(images())
        else:
            with renorm.route(model, *BRANCHES):
                y = model.train()(images())
        optimizer.zero_grad()
        y.square().mean().backward()
        optimizer.step()
    moved = {key for key, t in model.state_dict().items() if not torch.equal(t, before[key])}
    assert any("running_mean" in key for key in moved)
    assert any(key.endswith("weight") for key in moved)


@pytest.mark.parametrize("name", MAKERS)
def test_what_is_made_under_inference_mode_trains(name: str):
    outside, inside = MAKERS[name]
    model = outside()
    with torch.inference_mode():
        made = inside(model)
    trains(made)


def test_the_law_catches_tensors_of_inference_mode():
    model = small()
    with torch.inference_mode():
        renorm.split_.__wrapped__(model, BRANCHES)  # pyright: ignore[reportFunctionMemberAccess]
    with pytest.raises(RuntimeError, match=r"[Ii]nference"):
        trains(model)


def _stream(model: Any) -> None:
    adapter = renorm.Adapter(model, prior=4, branch="weak")
    adapter(images())


VERBS: dict[str, Callable[[Any], Any]] = {
    "measure and install_": lambda m: renorm.install_(m, renorm.measure(m, [images()], "weak"), "weak"),
    "recalibrate_": lambda m: renorm.recalibrate_(m, [images()], "weak", passes=2),
    "adapt_": lambda m: renorm.adapt_(m, images(), prior=4, branch="weak"),
    "a bank with its affine": lambda m: renorm.install_(m, renorm.Bank.of(m, "weak", affine=True), "strong"),
    "Adapter": _stream,
    "Tent": lambda m: renorm.Tent(m, branch="weak")(images()),
}


@pytest.mark.parametrize("name", VERBS)
def test_what_is_adapted_under_inference_mode_trains(name: str):
    model = convert()(small())
    with torch.inference_mode():
        VERBS[name](model)
    trains(model)
    folded = renorm.fold(model, "weak")
    trains(folded)
