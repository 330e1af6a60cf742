"""Damaged files of every kind: nothing escapes but the three-part error, and a model that is refused one is as it was."""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable
from dataclasses import asdict
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file
from torch import nn

import renorm
from renorm.models import load_weights
from renorm.recipes import open_file
from renorm.recipes.classify import configured
from renorm.recipes.classify.start import build
from renorm.train import Checkpoint, Run, checkpoint


def net() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(4, 2))


class Kind(NamedTuple):
    """How files are written and read."""

    write: Callable[[Path], object]
    read: Callable[[Path], object]


def write_run_weights(path: Path) -> None:
    config = configured(model="resnet8", branches=("weak", "strong"))
    about: dict[str, Any] = {"format": 1, "mean": [0.5] * 3, "std": [0.5] * 3, "size": 8}
    about |= {"config": asdict(config), "branches": ["weak", "strong"], "classes": ["a", "b"]}
    save_file(build(config, 2).state_dict(), path, {key: json.dumps(value) for key, value in about.items()})


def write_state(path: Path) -> None:
    state = {
        "format": 1,
        "optimizers": {"model": {"state": {0: {"m": torch.ones(3)}}}},
        "random": {"cpu": torch.ones(4)},
    }
    checkpoint.save(path.parent / "checkpoints", 1, Checkpoint({"model": {"a": torch.ones(3)}}, {}, state)).joinpath(
        checkpoint.STATE
    ).rename(path)


def read_state(path: Path) -> object:
    version = path.parent / "checkpoint" / "step-00000001"
    version.mkdir(parents=True, exist_ok=True)
    save_file({"a": torch.ones(3)}, version / "model.safetensors")
    (version / checkpoint.STATE).write_bytes(path.read_bytes())
    return checkpoint.load(path.parent / "checkpoint")


def read_config(path: Path) -> object:
    (path.parent / "config.json").write_bytes(path.read_bytes())
    return Run(path.parent).config()


KINDS = {
    "bank": Kind(lambda path: renorm.Bank.of(net(), affine=True).save(path), renorm.Bank.load),
    "weights": Kind(lambda path: save_file(net().state_dict(), path), lambda path: load_weights(net(), path)),
    "torch": Kind(
        lambda path: torch.save({"model": net().state_dict(), "epoch": 3}, path), lambda path: load_weights(net(), path)
    ),
    "legacy torch": Kind(
        lambda path: torch.save(net().state_dict(), path, _use_new_zipfile_serialization=False),
        lambda path: load_weights(net(), path),
    ),
    "run": Kind(write_run_weights, lambda path: open_file(path, "cpu")),
    "state": Kind(write_state, read_state),
    "config": Kind(lambda path: path.write_text('{"format": 1, "recipe": "classify", "config": {}}'), read_config),
}


@cache
def whole(name: str) -> bytes:
    with TemporaryDirectory() as folder:
        KINDS[name].write(Path(folder) / "file")
        return (Path(folder) / "file").read_bytes()


def check(name: str, data: bytes) -> None:
    """Reading gives something, or the error that names the file."""
    with TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what torch says of odd values
        path = Path(folder) / "file"
        path.write_bytes(data)
        try:
            KINDS[name].read(path)
        except ValueError as error:
            text = str(error)
            assert folder in text or "site" in text, text  # a bank's numbers are named by their site
            assert text.count(". ") + text.count(": ") >= 2, text


def flipped(name: str, rng: np.random.Generator) -> bytes:
    data = np.frombuffer(whole(name), np.uint8).copy()
    near = rng.random() < 0.5  # half of them in the header, where most is decided
    places = rng.integers(0, min(len(data), 600) if near else len(data), rng.integers(1, 6))
    data[places] ^= rng.integers(1, 256, len(places), dtype=np.uint8)
    return data.tobytes() if rng.random() < 0.9 else data[: rng.integers(0, len(data))].tobytes()


def test_a_damaged_name_of_a_network_is_told_with_the_file(tmp_path: Path):
    path = tmp_path / "file"
    path.write_bytes(whole("run").replace(b"resnet8", b"resneM8"))
    with pytest.raises(ValueError, match=f"^{path}: no network is called 'resneM8'"):
        open_file(path, "cpu")


@pytest.mark.parametrize("name", KINDS)
def test_whole_files_are_read(name: str):
    with TemporaryDirectory() as folder:
        (Path(folder) / "file").write_bytes(whole(name))
        KINDS[name].read(Path(folder) / "file")


@pytest.mark.parametrize("name", KINDS)
def test_flipped_bytes_raise_the_error_that_names_the_file(name: str):
    rng = np.random.default_rng(0)
    for _ in range(25):
        check(name, flipped(name, rng))


@pytest.mark.slow
@pytest.mark.parametrize("name", KINDS)
def test_two_thousand_files_with_flipped_bytes(name: str):
    rng = np.random.default_rng(1)
    for _ in range(2000 if name != "run" else 400):
        check(name, flipped(name, rng))


@settings(max_examples=40, deadline=None)
@given(st.sampled_from(sorted(KINDS)), st.binary(max_size=200))
def test_any_bytes(name: str, data: bytes):
    check(name, data)


VALUES: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5) | st.just(torch.ones(4)),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5) | st.integers(0, 3), inner, max_size=3)
    ),
    max_leaves=8,
)


@settings(max_examples=40, deadline=None)
@given(VALUES)
def test_any_content_of_a_torch_file(content: Any):
    with TemporaryDirectory() as folder:
        path = Path(folder) / "file"
        torch.save(content, path)
        model = net()
        with pytest.raises(ValueError, match=r"file holds (no state dict|the weights of another model)"):
            load_weights(model, path)
        torch.testing.assert_close(model.state_dict(), net().state_dict(), rtol=0, atol=0)


def test_the_test_catches_an_error_that_escapes(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(KINDS, "bank", Kind(KINDS["bank"].write, lambda path: 1 / 0))
    with pytest.raises(ZeroDivisionError):
        check("bank", b"")
