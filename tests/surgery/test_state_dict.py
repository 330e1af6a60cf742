from __future__ import annotations

import io
from typing import Any

import pytest
import torch
from safetensors.torch import load, save
from torch import nn
from torch.testing import assert_close

import renorm
from tests.surgery.test_fold import trained
from tests.surgery.zoo import NORMS, around, images, small, tensors

BRANCHES = ["weak", "strong"]
SHARES = [(), "statistics", "affine", ("statistics", "affine")]


def exactly(a: Any, b: Any) -> None:
    assert_close(a, b, rtol=0, atol=0)


def through_a_file(state: Any) -> Any:
    file = io.BytesIO()
    torch.save(state, file)
    file.seek(0)
    return torch.load(file, weights_only=True)


@pytest.mark.parametrize("share", SHARES, ids=str)
@pytest.mark.parametrize("kind", NORMS)
@pytest.mark.parametrize("assign", [False, True])
def test_a_plain_checkpoint_loads_strictly_and_every_branch_gets_it(kind: str, share: Any, assign: bool):
    plain = around(NORMS[kind].make()).eval()
    model = nn.Sequential(NORMS[kind].make()).eval()
    renorm.split_(model, ["weak", "strong", "clean"], share=share if NORMS[kind].known else ())
    model.load_state_dict(through_a_file(plain.state_dict()), assign=assign)
    x = torch.randn(NORMS[kind].shape)
    for branch in ("weak", "strong", "clean"):
        with renorm.route(model, branch):
            exactly(model(x), plain(x))


@pytest.mark.parametrize("share", SHARES, ids=str)
@pytest.mark.parametrize("kind", ["2d", "unknown"])
def test_a_converted_checkpoint_loads_strictly_into_a_converted_model(kind: str, share: Any):
    share = share if NORMS[kind].known else ()
    source = nn.Sequential(nn.Conv2d(3, 5, 1), NORMS[kind].make())
    source = trained(source, share=share)
    model = nn.Sequential(nn.Conv2d(3, 5, 1), NORMS[kind].make())
    renorm.split_(model, BRANCHES, share=share)
    model.load_state_dict(through_a_file(source.state_dict()))
    exactly(tensors(model), tensors(source))
    for branch in BRANCHES:
        with renorm.route(model.eval(), branch), renorm.route(source.eval(), branch):
            exactly(model(images()), source(images()))


@pytest.mark.parametrize("kind", ["2d", "unknown"])
@pytest.mark.parametrize(
    "branches", [["strong", "weak"], ["weak", "clean"], ["weak", "strong", "clean"], ["weak"]], ids=str
)
def test_another_list_or_order_of_branches_is_an_error(kind: str, branches: list[str]):
    source, model = around(NORMS[kind].make()), nn.Sequential(NORMS[kind].make())
    renorm.split_(source, BRANCHES)
    renorm.split_(model, branches)
    before = tensors(model)
    message = (
        rf"0: the checkpoint has branches \['weak', 'strong'\], the model \[{', '.join(map(repr, branches))}\]. "
        r"Their names and order must agree. Convert the model with the checkpoint's branches"
    )
    for state in (source.state_dict(), through_a_file(source.state_dict())):
        with pytest.raises(RuntimeError, match=message):
            model.load_state_dict(state)
    if NORMS[kind].known:  # copies are children, which PyTorch loads before it raises
        exactly(tensors(model), before)


def test_a_checkpoint_saved_after_adding_a_branch_names_it():
    source, model = small(), small()
    for each in (source, model):
        renorm.split_(each, BRANCHES)
    renorm.add_branch_(source, "clean", like="weak")
    with pytest.raises(
        RuntimeError, match=r"checkpoint has branches \['weak', 'strong', 'clean'\], the model \['weak'"
    ):
        model.load_state_dict(source.state_dict())
    renorm.add_branch_(model, "clean", like="weak")
    model.load_state_dict(source.state_dict())


def test_keys_and_ranks_are_the_plain_models():
    model = small()
    plain = {key: t.ndim for key, t in model.state_dict().items() if "tracked" not in key}
    renorm.split_(model, BRANCHES)
    assert {key: t.ndim for key, t in model.state_dict().items() if "tracked" not in key} == plain
    assert set(model.state_dict()) == set(small().state_dict())


def test_loading_leaves_the_given_state_dict_alone():
    for kind in ("2d", "unknown"):
        plain, model = around(NORMS[kind].make()), nn.Sequential(NORMS[kind].make())
        renorm.split_(model, BRANCHES)
        state = plain.state_dict()
        before = {key: value.clone() for key, value in state.items()}
        model.load_state_dict(state)
        exactly(dict(state), before)


@pytest.mark.parametrize("kind", ["2d", "unknown"])
def test_missing_unexpected_and_misshapen_entries_are_still_errors(kind: str):
    model = nn.Sequential(NORMS[kind].make())
    renorm.split_(model, BRANCHES)
    state = around(NORMS[kind].make()).state_dict()
    with pytest.raises(RuntimeError, match=r'Missing key\(s\) in state_dict: "0\.(weak\.)?weight"'):
        model.load_state_dict({k: v for k, v in state.items() if k != "0.weight"})
    with pytest.raises(RuntimeError, match=r'Unexpected key\(s\) in state_dict: "0\..*other"'):
        model.load_state_dict({**state, "0.other": torch.zeros(3)})
    with pytest.raises(RuntimeError, match=r"size mismatch for 0\.(weak\.)?weight"):
        model.load_state_dict({**state, "0.weight": torch.zeros(7)})


def test_checkpoints_older_than_the_counter_load():
    model = small()
    renorm.split_(model, BRANCHES)
    state = {key: value for key, value in small().state_dict().items() if "tracked" not in key}
    model.load_state_dict(state, strict=False)
    exactly(tensors(renorm.fold(model, "weak"))["1.running_mean"], state["1.running_mean"])


def test_without_metadata_as_many_branches_load_and_fewer_do_not():
    source = trained(small())
    state = load(save({key: value.contiguous() for key, value in source.state_dict().items()}))
    model, other = small(), small()
    renorm.split_(model, BRANCHES)
    model.load_state_dict(state)
    exactly(tensors(model), tensors(source))
    renorm.split_(other, ["weak", "strong", "clean"])
    with pytest.raises(RuntimeError, match=r"size mismatch for 1.weight"):
        other.load_state_dict(state)


def test_a_converted_checkpoint_does_not_slip_into_a_plain_model():
    source = small()
    renorm.split_(source, BRANCHES)
    with pytest.raises(RuntimeError, match=r"size mismatch for 1\.weight"):
        small().load_state_dict(source.state_dict())


def test_the_law_catches_a_loader_that_ignores_the_order():
    source, model = trained(small()).eval(), small().eval()
    renorm.split_(model, ["strong", "weak"])
    model.load_state_dict(dict(source.state_dict()))  # a plain dict has no metadata, so the order is lost
    with renorm.route(model, "weak"), renorm.route(source, "weak"), pytest.raises(AssertionError):
        exactly(model(images()), source(images()))
