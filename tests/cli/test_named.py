"""Models as people have them: checkpoints of other scripts, code of their own, and what is no model."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch

import renorm
from renorm.models import create
from tests.cli.conftest import TRAIN, Command

NORMALIZED = ("--mean", "0.5", "0.5", "0.5", "--std", "0.25", "0.25", "0.25")
IMAGES = ("--images", "digits", "--num-images", "8", "--num-judged", "8")
CODE = """
from torch import nn

def make(num_classes=10):
    return nn.Sequential(
        nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, num_classes)
    )
"""


@pytest.fixture
def both(tmp_path: Path) -> dict[str, dict[str, torch.Tensor]]:
    """A checkpoint of a training script, with averaged weights."""
    torch.manual_seed(0)
    states = {key: create("resnet8").state_dict() for key in ("state_dict", "state_dict_ema")}
    torch.save({**states, "epoch": 3}, tmp_path / "w.pth")
    return states


def test_a_checkpoint_with_averaged_weights_says_which_it_takes(
    renorm_command: Command, both: dict[str, dict[str, torch.Tensor]]
):
    source = ("resnet8", "--weights", "w.pth", *NORMALIZED)
    result = renorm_command("fold", *source, "--out", "a.safetensors")
    assert (result.status, result.err) == (0, "")
    assert "note: w.pth: of state_dict_ema and state_dict the averaged weights, state_dict_ema, are taken" in result.out
    assert renorm_command("fold", *source, "--out", "b.safetensors", "--no-ema").out.count("note") == 0
    assert renorm_command("fold", *source, "--out", "a.safetensors", "--quiet").out == ""
    from safetensors.torch import load_file

    for name, key in (("a", "state_dict_ema"), ("b", "state_dict")):
        assert torch.equal(load_file(f"{name}.safetensors")["conv1.weight"], both[key]["conv1.weight"])


def test_notes_are_no_part_of_the_json_object(renorm_command: Command, both: object):
    result = renorm_command("fold", "resnet8", "--weights", "w.pth", *NORMALIZED, "--out", "a.safetensors", "--json")
    assert json.loads(result.out)["written"]
    assert "note: w.pth: of state_dict_ema" in result.err


def test_code_of_ones_own_is_a_model_in_every_command(
    renorm_command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("renorm.models.code._trusted", set())
    (tmp_path / "code").mkdir()
    (tmp_path / "code" / "net.py").write_text(CODE)
    name = "code/net.py:make"
    result = renorm_command("adapt", name, *NORMALIZED, *IMAGES, "--bank", "bank.safetensors")
    assert result.status == 0, result.err
    assert set(renorm.Bank.load("bank.safetensors").sites) == {"1"}
    assert renorm_command("fold", name, *NORMALIZED, "--out", "f.safetensors").status == 0
    result = renorm_command("adapt", name, *IMAGES)
    assert "net.py:make does not say what its input is normalized by: a mean" in result.err
    result = renorm_command(*TRAIN[:1], "--model", name, *TRAIN[3:], "--table-images", "0")
    assert result.status == 0, result.err
    run = Path("runs/digits-net.py-make-split-weak-strong-0")
    about = json.loads((run / "config.json").read_text())
    assert about["config"]["network"]["model"] == f"{tmp_path}/{name}"
    assert about["typed"]["model"] == name


def test_code_that_a_run_names_is_run_where_it_is_trusted(
    renorm_command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    (tmp_path / "net.py").write_text(CODE)
    run = ("--out", "run")
    assert renorm_command(*TRAIN[:1], "--model", "net.py:make", *TRAIN[3:], "--table-images", "0", *run).status == 0
    monkeypatch.setattr("renorm.models.code._trusted", set())  # as another process begins
    fold = ("fold", "run", "--branch", "weak", "--out", "f.safetensors")
    result = renorm_command(*fold)
    assert result.status == 1
    assert "its network is made by the code" in result.err
    assert "add --trust-code" in result.err
    result = renorm_command("train", "--resume", *run)
    assert "add --trust-code" in result.err
    assert renorm_command(*fold, "--trust-code").status == 0
    result = renorm_command("train", "--resume", "--model", "net.py:make", *run)
    assert result.status == 0, result.err
    result = renorm_command("fold", "net.py:make", *NORMALIZED, "--out", "f.safetensors", "--trust-code")
    assert "--trust-code with net.py:make, which names its code itself" in result.err


def test_what_is_no_model_is_named(renorm_command: Command, trained: Path, tmp_path: Path, both: object):
    bank = shutil.copy(trained / "banks" / "weak.safetensors", tmp_path)
    result = renorm_command("evaluate", bank, "--data", "digits")
    assert f"renorm: {bank} is no model: it is a bank. Install it: " in result.err
    assert "--bank or --banks. The model it belongs to is needed here. Name that one." in result.err
    result = renorm_command("evaluate", trained / "results.safetensors")
    assert "is no model: it is what images add to a table" in result.err
    for place in ("w.pth", "./w.pth"):
        result = renorm_command("adapt", place, *IMAGES)
        assert "w.pth does not say what model it belongs to" in result.err
        assert "resnet20 --weights w.pth" in result.err
    result = renorm_command("adapt", "resnet8", "--weights", bank, *NORMALIZED, *IMAGES)
    assert "weak.safetensors holds no weights: it is a bank." in result.err
    weights = next(trained.glob("checkpoint/*/model.safetensors"))
    for arguments in (
        ["evaluate", trained, "--banks", weights],
        ["fold", trained, "--branch", "weak", "--bank", weights],
    ):
        result = renorm_command(*arguments, *["--out", "f.safetensors"] * (arguments[0] == "fold"))
        assert "model.safetensors is a safetensors file but not a bank." in result.err
    result = renorm_command("evaluate", trained, "--banks", "w.pth")
    assert (result.status, "Traceback" in result.err) == (1, False)
    assert "w.pth" in result.err
