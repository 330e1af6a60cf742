from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import nn
from torch.testing import assert_close

import renorm
from tests.surgery.zoo import CHANNELS, NORMS, around, images, small, tensors

BRANCHES = ["weak", "strong"]


def exactly(a: Any, b: Any) -> None:
    assert_close(a, b, rtol=0, atol=0)


def objects(model: nn.Module) -> list[tuple[str, int]]:
    """Every module, parameter and buffer with its identity."""
    things = [*model.named_modules(), *model.named_parameters(), *model.named_buffers()]
    return [(name, id(thing)) for name, thing in things]


def train(model: nn.Module, *spec: Any) -> None:
    with renorm.route(model, *spec):
        model.train()(images())


@pytest.mark.parametrize("share", [(), "statistics", "affine", ("statistics", "affine")], ids=str)
@pytest.mark.parametrize("kind", NORMS)
def test_undo_gives_back_the_same_modules_parameters_and_buffers(kind: str, share: Any):
    model = around(NORMS[kind].make())
    before, values = objects(model), tensors(model)
    report = renorm.split_(model, BRANCHES, share=share if NORMS[kind].known else ())
    report.undo()
    assert objects(model) == before
    exactly(tensors(model), values)
    assert not model._forward_pre_hooks
    assert not model._forward_hooks
    renorm.split_(model, BRANCHES)


@pytest.mark.parametrize("kind", ["2d", "unknown"])
def test_undo_refuses_after_training_and_says_what_to_do(kind: str):
    model = nn.Sequential(around(NORMS["2d"].make()), around(NORMS[kind].make()))
    report = renorm.split_(model, BRANCHES)
    with renorm.route(model[1], "strong"):
        model[1](torch.randn(6, CHANNELS, 3, 7))
    before, values = objects(model), tensors(model)
    message = (
        r"1 of 2 sites have changed since the conversion, '1.0' first\. Undoing needs to know which branch to keep\. "
        r"Use undo\(keep='weak'\), or renorm.fold\(model, 'weak'\)"
    )
    with pytest.raises(RuntimeError, match=message):
        report.undo()
    assert objects(model) == before
    exactly(tensors(model), values)


@pytest.mark.parametrize("key", ["weight", "bias", "running_mean", "running_var", "num_batches_tracked"])
def test_undo_sees_a_change_of_any_tensor_of_any_branch(key: str):
    model: Any = small()
    report = renorm.split_(model, BRANCHES)
    tensor = getattr(model[4], key).data
    before = tensor.clone()
    tensor[-1] += 1
    with pytest.raises(RuntimeError, match=r"1 of 2 sites have changed since the conversion, '4' first"):
        report.undo()
    tensor.copy_(before)
    report.undo()


@pytest.mark.parametrize("kind", ["2d", "fused PReLU", "without bias", "unknown", "parametrized"])
@pytest.mark.parametrize("branch", BRANCHES)
def test_undo_can_keep_a_branchs_values_in_the_original_objects(kind: str, branch: str):
    model, x = around(NORMS[kind].make()), torch.randn(6, CHANNELS, 3, 7)
    before = objects(model)
    report = renorm.split_(model, BRANCHES)
    for name, shift in (("weak", 1.0), ("strong", -2.0)):
        with renorm.route(model, name):
            model(x + shift)
    folded = renorm.fold(model, branch)
    report.undo(keep=branch)
    assert objects(model) == before
    exactly(tensors(model), tensors(folded))
    exactly(model.eval()(x), folded.eval()(x))


def test_an_unknown_branch_to_keep_changes_nothing():
    model = small()
    report = renorm.split_(model, BRANCHES)
    before = objects(model)
    with pytest.raises(ValueError, match=r"'wek' is not a branch.*\['weak', 'strong'\].*Did you mean 'weak'\?"):
        report.undo(keep="wek")
    assert objects(model) == before
    report.undo(keep="weak")


def test_undoing_twice_is_an_error():
    model = small()
    report = renorm.split_(model, BRANCHES)
    report.undo()
    with pytest.raises(RuntimeError, match=r"undone already. A conversion can be undone once. Convert the model again"):
        report.undo()


def test_broken_statistics_that_were_there_before_are_no_change():
    model: Any = small()
    model[1].running_mean[2] = float("nan")
    report = renorm.split_(model, BRANCHES)
    report.undo()
    assert model[1].running_mean.isnan().sum() == 1


def test_undo_follows_the_model_to_another_dtype_mode_and_requires_grad():
    model: Any = small()
    kept = [model[1].weight, model[1]]
    report = renorm.split_(model, BRANCHES)
    model.double().eval().requires_grad_(False)
    report.undo()
    assert model[1] is kept[1]
    assert model[1].weight is kept[0]
    assert not model[1].training
    assert {t.dtype for t in model.parameters()} == {torch.float64}
    assert not any(p.requires_grad for p in model.parameters())
    assert model(images().double()).dtype == torch.float64


def test_undo_removes_a_branch_that_was_added_since():
    model: Any = small()
    before = objects(model)
    report = renorm.split_(model, BRANCHES)
    renorm.add_branch_(model, "clean", like="weak")
    train(model, "clean")
    expected = renorm.fold(model, "clean")
    report.undo(keep="clean")
    assert objects(model) == before
    exactly(tensors(model), tensors(expected))


def test_undo_works_on_the_model_that_was_converted_not_on_its_copies():
    model = small()
    report = renorm.split_(model, BRANCHES)
    other = copy.deepcopy(model)
    report.undo()
    train(other, "weak", "strong")
    assert not any(isinstance(m, renorm.layers.Site) for m in model.modules())


def test_the_law_of_same_objects_catches_equal_copies():
    model = small()
    before, values = objects(model), tensors(model)
    renorm.split_(model, BRANCHES)
    naive = renorm.fold(model, "weak")  # equal in value
    exactly(tensors(naive), values)
    assert objects(naive) != before
