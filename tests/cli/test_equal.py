"""renorm compare --assert-equal: two runs or tables are the same to the last bit, or what differs is named."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from renorm.evaluate import read_results, write_results
from tests.cli.conftest import TRAIN, Command


def test_the_same_command_gives_the_same_run(renorm_command: Command, trained: Path, tmp_path: Path):
    again = renorm_command(*TRAIN, "--out", "again", "--table-images", "40")
    assert again.status == 0, again.err
    result = renorm_command("compare", trained, "again", "--assert-equal")
    assert result.status == 0, result.err
    assert "are equal, bit for bit" in result.out


def config(run: Path) -> None:
    about = json.loads((run / "config.json").read_text())
    about["config"]["seed"] = 7
    (run / "config.json").write_text(json.dumps(about))


def metrics(run: Path) -> None:
    record = json.loads((run / "metrics.jsonl").read_text())
    record["loss"] += 1e-12
    (run / "metrics.jsonl").write_text(json.dumps(record) + "\n")


def nudged(path: Path) -> None:
    with safe_open(path, "pt") as file:
        about = file.metadata()
    tensors = load_file(path)
    first = next(key for key, value in tensors.items() if value.is_floating_point())
    tensors[first].view(-1)[0] = torch.nextafter(tensors[first].view(-1)[0], torch.tensor(9.0))
    save_file(tensors, path, about)


def checkpoint(run: Path) -> None:
    nudged(next(run.glob("checkpoint/*/model.safetensors")))


def bank(run: Path) -> None:
    nudged(run / "banks" / "weak.safetensors")


def no_bank(run: Path) -> None:
    (run / "banks" / "weak.safetensors").unlink()


def table(run: Path) -> None:
    found = read_results(run / "results.csv")
    rows = [replace(row, value=row.value + 1e-12) for row in found.rows]
    write_results(run / "results.csv", replace(found, rows=rows))


def no_table(run: Path) -> None:
    (run / "results.csv").unlink()


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (config, "option, seed: 0 and 7"),
        (metrics, "metrics, record 1, loss:"),
        (checkpoint, "checkpoint, model: 1 of "),
        (bank, "bank weak.safetensors: 1 of "),
        (no_bank, "banks: only one has weak.safetensors"),
        (table, "table, "),
        (no_table, "table: only "),
    ],
)
def test_any_difference_is_named(
    renorm_command: Command, trained: Path, tmp_path: Path, change: Callable[[Path], None], said: str
):
    other = Path(shutil.copytree(trained, tmp_path / "other"))
    change(other)
    result = renorm_command("compare", trained, other, "--assert-equal")
    assert result.status == 1
    assert f"are not equal: {said}" in result.err
    assert "They must be the same to the last bit. Look at the first difference" in result.err


def test_tables_alone_and_what_cannot_be_compared(renorm_command: Command, trained: Path, tmp_path: Path):
    csv = trained / "results.csv"
    assert renorm_command("compare", csv, csv, "--assert-equal").status == 0
    mixed = renorm_command("compare", trained, csv, "--assert-equal")
    assert "two runs or two tables are needed. Name a table of each" in mixed.err
    both = renorm_command("compare", csv, csv, "--assert-equal", "--shifts", "clean")
    assert "--assert-equal with --banks, --shifts or --ignore: it looks at everything" in both.err
