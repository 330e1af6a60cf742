"""``renorm compare``: differences of two tables, and a refusal where numbers must not be compared."""

import re
import shutil
from pathlib import Path

import pytest

from renorm.cli import main
from renorm.evaluate import Protocol, remarks
from tests.cli.conftest import Command

SMALL = ("--num-images", "60", "--shifts", "clean", "contrast", "gaussian_noise:5")


@pytest.fixture(scope="module")
def tables(trained: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Tables of one run: twice the same, and each with one option that makes it another."""
    folder = tmp_path_factory.mktemp("tables")
    options = {"a": (), "b": (), "seed": ("--seed", "1"), "scale": ("--scale", "224"), "jpeg": ("--rounding", "jpeg")}
    for name, more in options.items():
        out = ("--out", str(folder / f"{name}.csv"))
        assert main(["evaluate", str(trained), *SMALL, "--banks", "weak", "strong", *more, *out]) == 0
    return folder


def test_a_table_differs_from_itself_by_nothing(renorm_command: Command, tables: Path):
    result = renorm_command("compare", tables / "a.csv", tables / "b.csv")
    assert result.status == 0, result.err
    assert "bank weak" in result.out
    assert "bank strong" in result.out
    assert len(re.findall(r"\+0.0\s+\+0.0 to \+0.0", result.out)) == 8
    assert re.search(r"mean over 2 corruptions", result.out)
    assert "over 60 images" in result.out


def test_two_banks_of_one_table(renorm_command: Command, tables: Path):
    result = renorm_command("compare", *[tables / "a.csv"] * 2, "--banks", "weak", "strong", "--shifts", "contrast")
    assert result.status == 0, result.err
    assert "bank weak of A, bank strong of B" in result.out
    row = re.search(r"contrast 1-5\s+(\S+)\s+(\S+)\s+(\S+)\s+(\S+) to (\S+)", result.out)
    assert row
    a, b, difference, low, high = (float(text) for text in row.groups())
    assert difference == pytest.approx(b - a, abs=0.11)
    assert low <= difference <= high
    assert "clean" not in result.out


def test_models_that_trained_otherwise_are_told_apart():
    one, other = Protocol(training="shared norms"), Protocol(training="shared norms, mixed by Mix(CutMix())")
    assert remarks(one, other) == ["A trained: shared norms", "B trained: shared norms, mixed by Mix(CutMix())"]
    assert remarks(one, one) == []
    assert remarks(one, Protocol())[1] == "B trained: not said"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["a.csv", "scale.csv"], r"differ in scale under contrast 1: 32 and 224.*--scale.*--ignore scale"),
        (["a.csv", "jpeg.csv"], r"differ in rounding under contrast 1: 8-bit and jpeg"),
        (["a.csv", "seed.csv"], r"differ in data under clean: digits .*Evaluate both on the same images"),
        (
            ["a.csv", "b.csv", "--shifts", "fog"],
            r"do not both have the shift 'fog': they share clean, contrast, gaussian_noise",
        ),
        (["a.csv", "b.csv", "--ignore", "images"], r"cannot ignore 'images'"),
        (["a.csv", "b.csv", "--banks", "weak", "x"], r"no cell in common for the banks weak and x"),
        (["a.csv", "none.csv"], r"no .*none.csv: a table .*Make it with `renorm evaluate"),
    ],
)
def test_unlike_tables_are_refused(renorm_command: Command, tables: Path, arguments: list[str], message: str):
    paths = [tables / name for name in arguments[:2]]
    result = renorm_command("compare", *paths, *arguments[2:])
    assert result.status == 1
    assert re.search(message, result.err, re.DOTALL), result.err
    assert "Traceback" not in result.err


def test_what_differs_can_be_ignored_where_that_makes_sense(renorm_command: Command, tables: Path):
    assert renorm_command("compare", tables / "a.csv", tables / "scale.csv", "--ignore", "scale").status == 0


def test_runs_are_compared_by_their_tables(renorm_command: Command, trained: Path, tmp_path: Path):
    other = shutil.copytree(trained, tmp_path / "run")
    assert renorm_command("compare", trained, other).status == 0
    (other / "results.safetensors").unlink()
    result = renorm_command("compare", trained, other)
    assert result.status == 1
    assert "says nothing of single images" in result.err
