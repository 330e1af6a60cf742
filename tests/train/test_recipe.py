"""The loop knows neither classes nor branches: a generator and its critic train by it, with an optimizer each."""

from pathlib import Path

import pytest
from safetensors.torch import load_file

from renorm.testing import numbers, same, trained
from renorm.train import Recipe, Run, half_cosine
from tests.recipes.game import Config, Game


def played(folder: Path, stop: int = 0) -> Run:
    return trained(Game, folder, stop)


@pytest.mark.parametrize("stop", [1, 3, 5, 7])  # before any checkpoint, within an epoch, after the first, in the last
def test_a_stopped_game_goes_on_to_the_same_bits(tmp_path: Path, stop: int):
    other = played(tmp_path / "other", stop)
    assert other.load().state["played"] == 10
    assert same(other, played(tmp_path / "whole"))


def test_each_network_has_a_file_and_each_optimizer_its_rate(tmp_path: Path):
    run = played(tmp_path / "run")
    (version,) = run.checkpoint.iterdir()
    assert {path.name for path in version.iterdir()} == {"generator.safetensors", "critic.safetensors", "state.pt"}
    assert load_file(version / "generator.safetensors").keys() >= {"0.weight", "1.running_mean"}
    saved = run.load()
    assert saved.state["optimizers"].keys() == {"generator", "critic"}
    assert saved.metadata == {"format": 1, "recipe": "game", "config": vars(Config()), "typed": {}}
    last = run.history()[-1]
    assert (last["rate/generator"], last["rate/critic"]) == (0.01, half_cosine(9, 0.1, 10))
    assert last.keys() >= {"epoch", "step", "loss/generator", "loss/critic", "mean"}


def test_a_game_that_forgot_an_optimizer_would_not_go_on_to_the_same_bits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    whole = played(tmp_path / "whole")
    monkeypatch.setattr("torch.optim.SGD.load_state_dict", lambda self, state: None)
    assert numbers(played(tmp_path / "other", 7)) != numbers(whole)


def test_what_a_recipe_must_say_is_refused_where_it_is_missing():
    class Silent(Recipe):
        pass

    with pytest.raises(TypeError, match="abstract"):
        Silent()  # pyright: ignore[reportAbstractUsage]
