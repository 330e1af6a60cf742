"""A data set stylized once is a shift to evaluate under and a view to train on."""

from __future__ import annotations

import json
from pathlib import Path

import torch

from renorm.data import load
from renorm.evaluate import read_results
from renorm.shifts import read_shifts
from tests.cli.conftest import TRAIN, Command
from tests.recipes.classify.test_stored import written
from tests.recipes.stylize.networks import files


def test_stylized_digits_are_a_shift_and_a_view(renorm_command: Command, tmp_path: Path):
    encoder, decoder = files(tmp_path)
    names = tuple(f"{label}/{i}" for label in "ab" for i in range(20))
    written(tmp_path / "small", names=names)
    written(tmp_path / "styles", names=("p", "q"), side=24)
    options = ["--content", "small", "--style", "styles", "--draw", "--out", "stylized"]
    assert renorm_command("stylize", encoder, "--decoder", decoder, *options).status == 0
    train = [*TRAIN, "--batch", "16", "--data", "small", "--branches", "weak", "stylized", "--stylized", "stylized"]
    result = renorm_command(*train, "--out", "run")
    assert result.status == 0, result.err
    result = renorm_command("evaluate", "run", "--data", "small", "--shifts", "clean", "stylized", "--out", "t.csv")
    assert result.status == 0, result.err
    results = read_results(tmp_path / "t.csv")
    assert {(row.bank, row.shift) for row in results.rows} >= {
        (bank, shift) for bank in ("weak", "stylized", "clean@stylized") for shift in ("clean", "stylized")
    }
    (shift,) = read_shifts(tmp_path / "stylized")
    assert shift.images.files == load("small").files
    assert torch.equal(shift.images.labels, load("small").labels)
    assert json.loads((tmp_path / "run" / "config.json").read_text())["typed"]["stylized"] == "stylized"
