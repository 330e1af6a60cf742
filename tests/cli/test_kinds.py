"""Commands on runs of a recipe that knows no classes: they follow its kind, or say that a classifier is needed."""

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from renorm.recipes import fit, prepare
from tests.cli.conftest import Command
from tests.recipes.game import KIND, Config, known


@pytest.fixture(scope="module")
def games(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Two runs of a game."""
    folder = tmp_path_factory.mktemp("games")
    with known():
        for seed in (0, 1):
            fit(prepare(Config(seed=seed)), folder / str(seed), command="played")
        yield folder


@pytest.fixture(scope="module")
def tables(games: Path) -> Path:
    """The same, evaluated."""
    from renorm.cli import main

    assert all(main(["evaluate", str(games / each)]) == 0 for each in "01")
    return games


def test_a_run_is_evaluated_by_its_recipe(renorm_command: Command, games: Path, tmp_path: Path):
    out = tmp_path / "t.csv"
    result = renorm_command("evaluate", games / "0", "--banks", "running", "--num-images", "20", "--out", out)
    assert result.status == 0, result.err
    assert "20 pairs of numbers, seed 0" in result.out
    assert "bank x measure" in result.out
    assert re.search(r"squared distance +\d+\.\d+ ±", result.out)
    assert re.search(r"bank 1/1 +running +squared distance", result.out)
    more = renorm_command("evaluate", games / "0", "--num-images", "20", "--out", out, "--json")
    assert "adding to" in more.err
    rows = json.loads(more.out)["rows"]
    assert [(row["bank"], row["shift"], row["measure"], row["count"]) for row in rows] == [
        (bank, "generated", measure, 20)
        for bank in ("running", "recalibrated")
        for measure in ("squared distance", "deviation")
    ]
    assert "report.html" not in [path.name for path in tmp_path.iterdir()]


def test_its_page_is_its_own(renorm_command: Command, tables: Path):
    assert "<h1>A game</h1>" in (tables / "0" / "report.html").read_text()
    result = renorm_command("report", tables / "0")
    assert result.status == 0, result.err
    page = (tables / "0" / "report.html").read_text()
    assert "What each bank is worth" in page
    assert "squared distance" in page
    assert "renorm evaluate" in page


def test_its_tables_are_compared(renorm_command: Command, tables: Path):
    result = renorm_command("compare", tables / "0", tables / "1")
    assert result.status == 0, result.err
    assert re.search(r"squared distance +[\d.]+ +[\d.]+ +[+-][\d.]+ +[+-]\S+ to ", result.out)
    assert re.search(r"deviation .*not paired", result.out)
    result = renorm_command("compare", tables / "0", tables / "0", "--banks", "running", "recalibrated", "--json")
    assert {each["measure"] for each in json.loads(result.out)["differences"]} == {"squared distance", "deviation"}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ["evaluate", "{run}", "--shifts", "fog", "--eps", "1"],
            r"--shifts, --eps with a run of the recipe 'game': .* have --banks, --num-images, --seed. Leave the others",
        ),
        (["evaluate", "{run}", "--banks", "best"], r"no bank 'best': one of running, recalibrated"),
        (["evaluate", "{run}", "--download"], r"--download with .*, a run of the recipe 'game': it would do nothing"),
        (["evaluate", "{run}", "--weights", "x"], r"--weights with .*recipe 'game'"),
        (["adapt", "{run}", "--images", "digits"], "classifier"),
        (["recalibrate", "{run}", "--images", "digits", "--bank", "b.safetensors"], "classifier"),
        (["fold", "{run}", "--out", "o.safetensors"], "classifier"),
        (
            ["export", "{run}", "--out", "o.pt2", "--branch", "weak", "--normalize"],
            r"--branch, --normalize with a run of the recipe 'game': of such options its runs have none. Leave the others",
        ),
        (["report", "{run}", "--gradients", "1"], "classifier"),
        (["report", "{run}", "{other}", "--out", "o.html"], r"no accuracies.*renorm compare"),
        (["compare", "{run}", "{classifier}"], "no measure in common"),
        (["compare", "{run}", "{other}", "--shifts", "fog"], r"--shifts with tables of measures"),
        (["fold", "{file}", "--out", "o.safetensors"], r"recipe 'game'.*a classifier is needed"),
        (["train", "--resume", "--out", "{run}"], r"recipe 'game'"),
    ],
)
def test_what_needs_a_classifier_says_so(
    renorm_command: Command, tables: Path, trained: Path, arguments: list[str], message: str
):
    places = {"{run}": tables / "0", "{other}": tables / "1", "{classifier}": trained}
    places["{file}"] = next((tables / "0").rglob("generator.safetensors"))
    result = renorm_command(*(places.get(word, word) for word in arguments))
    assert result.status == 1
    wanted = r"is a run of the recipe 'game': a classifier is needed" if message == "classifier" else message
    assert re.search(wanted, result.err, re.DOTALL), result.err


def test_it_is_exported_by_its_recipe(
    renorm_command: Command, games: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    result = renorm_command("export", games / "0", "--out", tmp_path / "g.pt2")
    assert result.status == 0, result.err
    assert "takes float32 noise (batch, 2)" in result.out
    monkeypatch.setattr("tests.recipes.game.KIND", KIND._replace(export=None))
    result = renorm_command("export", games / "0", "--out", tmp_path / "h.pt2")
    assert re.search(
        r"is a run of the recipe 'game', whose runs cannot be exported: a classifier.*Name a run", result.err
    )
    assert not (tmp_path / "h.pt2").exists()


def test_a_bank_of_it_is_shown(renorm_command: Command, games: Path):
    result = renorm_command("show", games / "0" / "banks" / "running.safetensors")
    assert result.status == 0
    assert re.search(r"sites +1, 2 channels", result.out)
