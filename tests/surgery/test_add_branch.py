from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn
from torch.optim import SGD
from torch.testing import assert_close

import renorm
from renorm.routing import routes_of
from tests.surgery.zoo import CHANNELS, NORMS, around, images, small, tensors

BRANCHES = ["weak", "strong"]
SHARES = [(), "statistics", "affine", ("statistics", "affine")]


def exactly(a: Any, b: Any) -> None:
    assert_close(a, b, rtol=0, atol=0)


def split(kind: str, branches: Any = BRANCHES, share: Any = ()) -> Any:
    """A model whose branches differ."""
    model = around(NORMS[kind].make())
    renorm.split_(model, branches, share=share)
    for shift, name in enumerate(branches):
        with renorm.route(model, name):
            model(torch.randn(6, CHANNELS, 3, 7) + shift)
    return model


@pytest.mark.parametrize(
    ("kind", "share"),
    [("unknown", ()), *((kind, s) for kind in ("2d", "affine=False", "fused PReLU", "without bias") for s in SHARES)],
    ids=str,
)
@pytest.mark.parametrize("branches", [["weak"], BRANCHES, ["adv", "weak", "strong"]], ids=len)
def test_a_new_branch_is_like_the_named_one_and_others_stay(kind: str, branches: Any, share: Any):
    model = split(kind, branches, share)
    like = branches[-1]
    before = {name: tensors(renorm.fold(model, name)) for name in branches}
    report = renorm.add_branch_(model, "clean", like=like)
    listed = ", ".join([*branches, "clean"])
    assert repr(report) == f"branch 'clean' added like {like!r}; branches are {listed}"
    assert routes_of(model)[0].branches == (*branches, "clean")
    for name in branches:
        exactly(tensors(renorm.fold(model, name)), before[name])
    exactly(tensors(renorm.fold(model, "clean")), before[like])


@pytest.mark.parametrize("kind", ["2d", "unknown"])
def test_a_new_branch_is_independent_of_the_one_it_is_like(kind: str):
    model = split(kind)
    renorm.add_branch_(model, "clean", like="weak")
    before = tensors(renorm.fold(model, "weak"))
    with renorm.route(model, {"clean": 5, "strong": 3}):
        model(torch.randn(8, CHANNELS, 3, 7))
    exactly(tensors(renorm.fold(model, "weak")), before)
    assert int(renorm.fold(model, "clean").state_dict()["0.num_batches_tracked"]) == 15


@pytest.mark.parametrize("kind", ["2d", "unknown"])
def test_undo_takes_the_branch_away_and_keeps_the_training_of_others(kind: str):
    model = split(kind)
    objects = {name: id(p) for name, p in [*model.named_parameters(), *model.named_buffers()]}
    report = renorm.add_branch_(model, "clean", like="weak")
    with renorm.route(model, "strong", "clean"):
        model(torch.randn(6, CHANNELS, 3, 7))
    expected = [tensors(renorm.fold(model, name)) for name in BRANCHES]
    report.undo()
    assert routes_of(model)[0].branches == ("weak", "strong")
    assert {name: id(p) for name, p in [*model.named_parameters(), *model.named_buffers()]} == objects
    exactly([tensors(renorm.fold(model, name)) for name in BRANCHES], expected)


def test_mode_requires_grad_and_dtype_are_kept():
    model: Any = small(torch.float64).eval().requires_grad_(False)
    renorm.split_(model, BRANCHES)
    renorm.add_branch_(model, "clean", like="weak")
    assert not model[1].training
    assert {(p.dtype, p.requires_grad) for p in model.parameters()} == {(torch.float64, False)}


def test_a_site_used_twice_grows_once():
    shared = nn.BatchNorm2d(3)
    model: Any = nn.Sequential(shared, nn.ReLU(), shared)
    renorm.split_(model, BRANCHES)
    renorm.add_branch_(model, "clean", like="weak")
    assert model[0] is model[2]
    assert model[0].weight.shape == (9,)


@pytest.mark.parametrize(
    ("branch", "like", "message"),
    [
        (
            "weak",
            "strong",
            r"branch 'weak' exists already: \['weak', 'strong'\]. A new branch needs a new name. Choose one",
        ),
        ("clean", "stron", r"'stron' is not a branch of this model. Its branches are .*Did you mean 'strong'\?"),
        ("a.b", "weak", r"Branches are a list of distinct names without '\.' and '@'"),
    ],
)
def test_wrong_names_are_refused_and_nothing_changes(branch: str, like: str, message: str):
    model = split("2d")
    before = tensors(model)
    with pytest.raises(ValueError, match=message):
        renorm.add_branch_(model, branch, like=like)
    exactly(tensors(model), before)
    assert routes_of(model)[0].branches == ("weak", "strong")


def test_a_plain_model_is_refused():
    with pytest.raises(ValueError, match=r"Sequential has no branched site.*Convert it first: renorm.split_"):
        renorm.add_branch_(small(), "clean", like="weak")


def test_a_model_with_two_routes_is_refused():
    model = nn.Sequential(split("2d"), split("2d"))
    with pytest.raises(ValueError, match=r"several routes. A branch is added to one. Pass the part of the model"):
        renorm.add_branch_(model, "clean", like="weak")


def test_copied_norms_do_not_take_an_optimizer():
    model = split("unknown")
    with pytest.raises(ValueError, match=r"norms that are copied whole.*Add the branch, then .*add_param_group"):
        renorm.add_branch_(model, "clean", like="weak", optimizer=SGD(model.parameters(), lr=0.1))


def test_the_optimizer_trains_the_grown_parameters():
    model: Any = small()
    optimizer = SGD(model.parameters(), lr=0.1)
    renorm.split_(model, BRANCHES, optimizer=optimizer)
    renorm.add_branch_(model, "clean", like="weak", optimizer=optimizer)
    before = tensors(renorm.fold(model, "clean"))["1.weight"]
    with renorm.route(model, "clean"):
        model(images()).square().sum().backward()
    optimizer.step()
    assert not torch.equal(tensors(renorm.fold(model, "clean"))["1.weight"], before)
    assert {id(p) for p in model.parameters()} == {id(p) for p in optimizer.param_groups[0]["params"]}


def test_a_branch_that_a_lasting_route_names_is_not_removed():
    model = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 1), torch.nn.BatchNorm2d(4))
    renorm.split_(model, ["weak", "strong"])
    added = renorm.add_branch_(model, "clean", like="weak")
    lasting = renorm.route_(model, train="clean")
    with pytest.raises(RuntimeError, match=r"'clean' is in use.*undo the lasting route"):
        added.undo()
    lasting.undo()
    added.undo()
    assert model[1].running_mean.shape == (8,)
