"""A run from Python: prepared, trained, gone on with, opened by its recipe."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from renorm import Bank
from renorm.recipes import RECIPES, config_of, fit, kind_of, open_run, options_of, prepare
from renorm.recipes.classify import Classification, Config, configured
from renorm.train import Event, Run
from tests.cli.conftest import few_digits
from tests.test_imports import loaded_after

CONFIG = configured(model="resnet8", branches=("weak", "clean"), epochs=1, batch=128, save_every=2)


@pytest.fixture(autouse=True)
def few() -> Iterator[None]:
    with few_digits():
        yield


def test_a_run_from_python_is_what_the_command_makes(tmp_path: Path):
    steps, records = list[Event](), list[dict[str, float]]()
    run = fit(prepare(CONFIG), tmp_path / "run", command="typed", callback=steps.append, listener=records.append)
    assert [event.step for event in steps] == [1, 2, 3, 4, 5]
    assert records == run.history()
    saved = run.config()
    assert (saved["format"], saved["recipe"], saved["command"]) == (1, "classify", "typed")
    assert saved["versions"].keys() == {"renorm", "torch", "python"}
    assert config_of(saved) == CONFIG
    assert {path.stem for path in run.banks.iterdir()} == {"weak", "clean"}
    named = open_run(run.path)
    bank = Bank.load(run.banks / "weak.safetensors")
    assert bank.distance(Bank.of(named.classifier.model, branch="weak")) == dict.fromkeys(bank.sites, 0.0)


def test_a_run_goes_on_from_python_to_the_same_bits_and_with_nothing_else(tmp_path: Path):
    def interrupt(event: Event) -> None:
        if event.step == 3:
            raise KeyboardInterrupt

    whole, folder = fit(prepare(CONFIG), tmp_path / "whole"), tmp_path / "run"
    with pytest.raises(KeyboardInterrupt):
        fit(prepare(CONFIG), folder, callback=interrupt)
    with pytest.raises(ValueError, match=r"holds a run already"):
        fit(prepare(CONFIG), folder)
    with pytest.raises(
        ValueError, match=r"was started with another rate: a run goes on as it began. Prepare .* config_of"
    ):
        fit(prepare(configured(**options_of(CONFIG) | {"rate": 0.2})), folder, resume=True)
    run = fit(prepare(config_of(Run(folder).config())), folder, resume=True)
    found, expected = (each.load().weights["model"] for each in (run, whole))
    assert all(torch.equal(found[key], expected[key]) for key in expected)
    with pytest.raises(FileNotFoundError, match="no run in"):
        fit(prepare(CONFIG), tmp_path / "nowhere", resume=True)


def test_opening_a_run_follows_its_recipe(tmp_path: Path):
    (tmp_path / "config.json").write_text(json.dumps({"recipe": "compose"}))
    with pytest.raises(
        ValueError,
        match=r"recipe 'compose': one of classify, generate, search, stylize is needed. Upgrade renorm, or train",
    ):
        open_run(tmp_path)
    assert kind_of({}).recipe is Classification  # runs from before they said it
    assert RECIPES["classify"].config is Config
    assert list(RECIPES) == ["classify", "generate", "search", "stylize"]


def test_naming_recipes_loads_none_of_them():
    assert (
        loaded_after("from renorm.recipes import RECIPES; import renorm.recipes.classify; len(RECIPES)", ("torch",))
        == "[]"
    )
