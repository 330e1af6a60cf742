"""Checkpoints as training scripts write them: opened with the right tensors, and what was chosen is said."""

from __future__ import annotations

import argparse
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.testing import assert_close

import renorm
from renorm.models import ResNet, load_weights
from renorm.notice import Notice

CHANNELS = 5


def net(seed: int = 0) -> ResNet:
    torch.manual_seed(seed)
    return ResNet(8, CHANNELS)


RAW, AVERAGED = net(1).state_dict(), net(2).state_dict()
ARGS = argparse.Namespace(model="resnet8", lr=0.1, out=Path("here"), best=np.float64(0.5))


def behind(prefix: str, state: Mapping[str, Tensor] = RAW) -> dict[str, Tensor]:
    return {f"{prefix}{key}": value for key, value in state.items()}


PREFIX = r"w\.pth: the prefix '{}' of its keys is taken off"
READ: dict[str, tuple[Any, str]] = {
    "timm's train.py": ({"epoch": 3, "arch": "resnet8", "state_dict": RAW, "args": ARGS, "metric": np.float32(7)}, ""),
    "torchvision's train.py": (
        {"model": RAW, "optimizer": {"state": {0: {"step": torch.tensor(1.0)}}}, "args": ARGS},
        "",
    ),
    "pytorch-cifar": ({"net": RAW, "acc": 93.0, "epoch": 7}, ""),
    "PyTorch's tutorial": ({"model_state_dict": RAW, "loss": torch.tensor(2.0)}, ""),
    "DeepSpeed": ({"module": RAW, "dp_world_size": 1}, ""),
    "two deep": ({"states": {"model": {"weights": RAW}}}, ""),
    "DDP": ({"state_dict": behind("module.")}, PREFIX.format("module.")),
    "Lightning": (
        {"state_dict": behind("net."), "pytorch-lightning_version": "2.4", "epoch": 1},
        PREFIX.format("net."),
    ),
    "Lightning's average": (
        {"state_dict": behind("net."), "current_model_state": AVERAGED, "pytorch-lightning_version": "2.5"},
        PREFIX.format("net."),
    ),
    "torch.compile": (behind("_orig_mod."), r"the parts of torch's wrappers in its keys are taken off"),
    "all of them": (behind("module._orig_mod.model.net."), PREFIX.format("module.model.net.")),
    "a part compiled": (
        {key.replace("layer1.", "layer1._orig_mod."): value for key, value in RAW.items()},
        r"the parts of torch's wrappers in its keys are taken off",
    ),
    "a name nobody knows": (behind("student_of.mine."), PREFIX.format("student_of.mine.")),
    "a loss with weights": (
        behind("model.") | {"criterion.weight": torch.ones(5)},
        rf"{PREFIX.format('model.')}; criterion.weight beside it: left out",
    ),
}
EMA: dict[str, tuple[str, str]] = {  # where scripts keep both
    "timm": ("state_dict", "state_dict_ema"),
    "torchvision": ("model", "model_ema"),
    "BasicSR": ("params", "params_ema"),
    "another": ("weights", "EMA-weights"),
}


def saved(content: Any, folder: Path) -> Path:
    torch.save(content, folder / "w.pth")
    return folder / "w.pth"


def read(path: Path, **options: Any) -> tuple[dict[str, Tensor], str]:
    """What is loaded, and what is said."""
    with warnings.catch_warnings(record=True) as found:
        warnings.simplefilter("always")
        state = load_weights(net(), path, **options).state_dict()
    assert all(each.category is Notice for each in found)
    return state, "\n".join(str(each.message) for each in found)


@pytest.mark.parametrize("name", READ)
def test_checkpoints_are_taken_as_they_are(name: str, tmp_path: Path):
    content, said = READ[name]
    state, told = read(saved(content, tmp_path))
    assert_close(state, dict(RAW), rtol=0, atol=0)
    assert bool(told) is bool(said)
    with pytest.warns(Notice, match=said) if said else warnings.catch_warnings():
        load_weights(net(), tmp_path / "w.pth")


@pytest.mark.parametrize("name", EMA)
def test_of_both_the_averaged_weights_are_taken_and_this_is_said(name: str, tmp_path: Path):
    raw, averaged = EMA[name]
    path = saved({raw: RAW, averaged: AVERAGED, "args": ARGS}, tmp_path)
    state, told = read(path)
    assert_close(state, dict(AVERAGED), rtol=0, atol=0)
    assert f"of {averaged} and {raw} the averaged weights, {averaged}, are taken" in told
    assert "--no-ema, ema=False" in told
    state, told = read(path, ema=False)
    assert_close(state, dict(RAW), rtol=0, atol=0)
    assert told == ""


def test_the_average_of_torchs_own_class_is_taken(tmp_path: Path):
    averages = torch.optim.swa_utils.AveragedModel(net(2)).state_dict()
    state, told = read(saved({"model": RAW, "model_ema": averages}, tmp_path))
    assert_close(state, dict(AVERAGED), rtol=0, atol=0)
    assert "model_ema/module, are taken" in told
    assert "n_averaged beside it: left out" in told


def test_averages_without_counters_and_of_a_callback_are_taken(tmp_path: Path):
    counted = {key: value for key, value in AVERAGED.items() if not key.endswith("num_batches_tracked")}
    state, told = read(saved({"model": RAW, "model_ema": counted}, tmp_path))
    assert_close({key: state[key] for key in counted}, counted, rtol=0, atol=0)
    assert "model_ema, are taken" in told
    callbacks = {"EMA": {"ema_state_dict": behind("net.", AVERAGED)}, "other": behind("net.", AVERAGED)}
    lightning = {"state_dict": behind("net."), "callbacks": callbacks, "pytorch-lightning_version": "2.4"}
    state, told = read(saved(lightning, tmp_path))
    assert_close(state, dict(AVERAGED), rtol=0, atol=0)
    assert "callbacks/EMA/ema_state_dict/net, are taken" in told


@pytest.mark.parametrize(
    "averages",
    [dict(net(2).named_parameters()), {"decay": 0.9, "shadow_params": list(net(2).parameters())}],
    ids=["parameters alone", "a list"],
)
def test_averages_that_cannot_be_taken_are_told(averages: dict[str, Any], tmp_path: Path):
    path = saved({"model": RAW, "ema": averages}, tmp_path)
    state, told = read(path)
    assert_close(state, dict(RAW), rtol=0, atol=0)
    assert "what it calls ema is not taken, as it lacks tensors of the model or names them otherwise; model is" in told
    assert read(path, ema=False)[1] == ""


def test_averaged_weights_within_one_state_dict(tmp_path: Path):
    path = saved({"state_dict": behind("model.") | behind("ema_model.module.", AVERAGED)}, tmp_path)
    assert_close(read(path)[0], dict(AVERAGED), rtol=0, atol=0)
    assert_close(read(path, ema=False)[0], dict(RAW), rtol=0, atol=0)


def test_timm_takes_the_same_weights(tmp_path: Path):
    timm = pytest.importorskip("timm")
    args = argparse.Namespace(model="resnet10t", lr=0.1)
    models = [timm.create_model("resnet10t", num_classes=3) for _ in range(3)]
    path = saved(
        {"state_dict": models[0].state_dict(), "state_dict_ema": models[1].state_dict(), "args": args}, tmp_path
    )
    theirs = timm.create_model("resnet10t", num_classes=3, checkpoint_path=str(path)).state_dict()
    with pytest.warns(Notice, match="state_dict_ema, are taken, as timm does"):
        ours = load_weights(models[2], path).state_dict()
    assert_close(ours, theirs, rtol=0, atol=0)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (
            {"student": RAW, "teacher": AVERAGED},
            r"holds several weights of this model, student, teacher: one set .* Save the",
        ),
        (
            behind("a.") | behind("b."),
            r"holds several weights of this model, a, b: one set of weights is needed\. Save the",
        ),
        (
            {"ema": AVERAGED, "ema_slow": AVERAGED, "model": RAW},
            r"several weights of this model, ema, ema_slow, model: one",
        ),
    ],
)
def test_which_of_several_is_not_guessed(content: Any, message: str, tmp_path: Path):
    with pytest.raises(ValueError, match=message):
        load_weights(net(), saved(content, tmp_path))


def test_raw_weights_that_are_not_there(tmp_path: Path):
    path = saved({"model_ema": AVERAGED}, tmp_path)
    assert read(path)[1] == ""
    with pytest.raises(
        ValueError, match=r"holds averaged weights only: .* is needed\. Leave ema=False \(--no-ema\) out"
    ):
        load_weights(net(), path, ema=False)


def test_a_head_of_other_classes_is_told_once_and_with_its_remedy(tmp_path: Path):
    path = saved({"state_dict": ResNet(8, 3).state_dict()}, tmp_path)
    with pytest.raises(ValueError) as error:
        load_weights(net(), path)
    text = str(error.value)
    assert text.count("linear.weight is (3, 64) in the file and (5, 64) in the model") == 1
    assert "num_classes=3, on the command line --num-classes" in text
    assert "size mismatch" not in text


def test_shapes_and_names_are_told_together(tmp_path: Path):
    path = saved(
        behind("module.", {key: value[:2] if key == "conv1.weight" else value for key, value in RAW.items()}), tmp_path
    )
    with pytest.raises(
        ValueError, match=r"conv1\.weight is \(2, 3, 3, 3\) in the file and \(16, 3, 3, 3\) in the model\. Keys"
    ):
        load_weights(net(), path)
    path = saved({key: value for key, value in ResNet(14, 3).state_dict().items() if key != "conv1.weight"}, tmp_path)
    with pytest.raises(
        ValueError, match=r"\(5, 64\) in the model.*; only the model has conv1\.weight; only the file has layer1"
    ):
        load_weights(net(), path)


def test_a_model_with_branches_takes_them_too(tmp_path: Path):
    model = net()
    renorm.split_(model, ["weak", "strong"])
    with pytest.warns(Notice, match="prefix 'module.'"):
        load_weights(model, saved({"state_dict": behind("module.")}, tmp_path))
    for branch in ("weak", "strong"):
        assert_close(dict(renorm.fold(model, branch).state_dict()), dict(RAW), rtol=0, atol=0)
    torch.save({"model": behind("module.", model.state_dict())}, tmp_path / "w.pth")
    other = net()
    renorm.split_(other, ["strong", "weak"])
    with pytest.raises(ValueError, match=r"\['weak', 'strong'\].*\['strong', 'weak'\]"):
        load_weights(other, tmp_path / "w.pth")


def test_a_wrapped_model_takes_plain_weights(tmp_path: Path):
    path = saved(RAW, tmp_path)
    for wrap in (torch.compile, nn.DataParallel):
        model = net()
        wrapped: Any = wrap(model)
        assert load_weights(wrapped, path) is wrapped
        assert_close(model.state_dict(), RAW, rtol=0, atol=0)
