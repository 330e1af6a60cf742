from __future__ import annotations

import io
import tempfile
import warnings
from collections.abc import Callable
from typing import Any

import pytest
import torch
from safetensors.torch import load, save
from torch import nn
from torch.distributed.checkpoint import state_dict_loader, state_dict_saver
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


def through_a_distributed_checkpoint(model: nn.Module) -> Any:
    """As DCP saves and reads it: what it reads goes into a state dict that is there already."""
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="torch.distributed is (disabled|unavailable)")  # this is one process
        warnings.filterwarnings("ignore", message="TypedStorage is deprecated")  # what torch 2.6 reads by
        state_dict_saver.save({"model": model.state_dict()}, checkpoint_id=folder)
        state = {"model": {key: torch.zeros_like(t) for key, t in model.state_dict().items()}}
        state_dict_loader.load(state, checkpoint_id=folder)
    return state["model"]


WRITERS: dict[str, Callable[[nn.Module], Any]] = {
    "state_dict": lambda model: model.state_dict(),
    "torch.save": lambda model: through_a_file(model.state_dict()),
    "bare tensors": lambda model: dict(model.state_dict()),
    "safetensors": lambda model: load(save({k: v.contiguous() for k, v in model.state_dict().items()})),
    "DCP": through_a_distributed_checkpoint,
    "in half precision": lambda model: {k: v.half() for k, v in model.state_dict().items()},
}


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
    for write in WRITERS.values():
        with pytest.raises(RuntimeError, match=message):
            model.load_state_dict(write(source))
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


@pytest.mark.parametrize("convert", [renorm.split_, renorm.sandwich_])
def test_keys_and_ranks_are_the_plain_models_and_branches_are_named(convert: Any):
    plain = {key: t.ndim for key, t in small().state_dict().items()}
    model = small()
    converted = convert(model, BRANCHES)
    state = model.state_dict()
    own = {key: t.ndim for key, t in state.items() if ".branch" not in key}
    assert own == {key: 1 if "tracked" in key else ndim for key, ndim in plain.items()}
    names = {key: t for key, t in state.items() if key.endswith(".branches")}
    assert list(names) == ["1.branches", "4.branches"]
    assert all(t.dtype == torch.uint8 and bytes(t.tolist()) == b'["weak", "strong"]' for t in names.values())
    assert not any("branches" in name for name, _ in [*model.named_parameters(), *model.named_buffers()])
    assert set(renorm.fold(model, "weak").state_dict()) == set(plain)
    converted.undo()
    assert set(model.state_dict()) == set(plain)


@pytest.mark.parametrize("writer", WRITERS)
@pytest.mark.parametrize("kind", ["2d", "unknown"])
def test_every_writer_keeps_what_a_model_of_the_same_branches_loads(kind: str, writer: str):
    source, model = around(NORMS[kind].make()), nn.Sequential(NORMS[kind].make())
    renorm.split_(source, BRANCHES)
    renorm.split_(model, BRANCHES)
    model.load_state_dict(WRITERS[writer](source))
    tolerance = 1e-3 if writer == "in half precision" else 0
    assert_close(tensors(model), tensors(source), rtol=tolerance, atol=tolerance)


def test_names_that_were_averaged_or_overwritten_are_refused():
    model = small()
    renorm.split_(model, BRANCHES)
    for broken in (torch.zeros(3), torch.tensor([255, 254], dtype=torch.uint8), torch.tensor(list(b"5"))):
        state = {**model.state_dict(), "1.branches": broken}
        with pytest.raises(RuntimeError, match=r"1: the checkpoint names branches by an unreadable tensor \(.*Convert"):
            model.load_state_dict(state)


def test_names_on_no_device_are_not_compared():
    model, source = small().to("meta"), small().to("meta")
    renorm.split_(model, BRANCHES)
    renorm.split_(source, ["strong", "weak"])
    state = {key: t.to("meta") for key, t in source.state_dict().items()}
    model.load_state_dict(state, assign=True)


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


def test_without_names_as_many_branches_load_and_fewer_do_not():
    source = trained(small())
    state = {key: value for key, value in source.state_dict().items() if not key.endswith(".branches")}
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
    model.load_state_dict({key: t for key, t in source.state_dict().items() if "branches" not in key})
    with renorm.route(model, "weak"), renorm.route(source, "weak"), pytest.raises(AssertionError):
        exactly(model(images()), source(images()))
