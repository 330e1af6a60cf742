"""The loop knows neither classes nor branches: a generator and its critic train by it, with an optimizer each."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from torch import Tensor, nn

from renorm.train import Event, Order, Plan, Processes, Recipe, Run, constant, half_cosine, train

NUM_EXAMPLES, BATCH = 40, 8


class Noise(NamedTuple):
    x: Tensor
    total: int


class Game(Recipe):
    """A generator learns to give numbers like those of a normal distribution elsewhere; its noise is torch's own."""

    def __init__(self) -> None:
        torch.manual_seed(0)
        self.generator, self.critic = nn.Linear(2, 2), nn.Sequential(nn.Linear(2, 4), nn.Dropout(0.2), nn.Linear(4, 1))
        self.networks = {"generator": self.generator, "critic": self.critic}
        self.optimizers = {
            "generator": torch.optim.Adam(self.generator.parameters()),
            "critic": torch.optim.SGD(self.critic.parameters(), momentum=0.9),
        }
        self.processes, self.plan = Processes(torch.device("cpu")), Plan(2, NUM_EXAMPLES // BATCH, save_every=2)
        self.played = 0

    def rates(self, step: int) -> Mapping[str, float]:
        return {"generator": constant(step, 0.01), "critic": half_cosine(step, 0.1, self.plan.total)}

    def batches(self, epoch: int, first: int) -> Iterator[Noise]:
        for share in Order(NUM_EXAMPLES, BATCH, 0, epoch, first):
            draws = [torch.randn(2, generator=torch.Generator().manual_seed(100 * e + i)) for e, i in share.keys]
            yield Noise(3 + torch.stack(draws), share.total)

    def step(self, batch: Noise) -> dict[str, float]:
        assert self.generator.training
        assert self.critic.training
        found = {}
        for name, sign in (("critic", -1.0), ("generator", 1.0)):
            optimizer, made = self.optimizers[name], self.generator(torch.randn(len(batch.x), 2))
            loss = F.softplus(-sign * self.critic(made)).mean()
            if name == "critic":
                loss = loss + F.softplus(-self.critic(batch.x)).mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            found[f"loss/{name}"] = float(loss.detach())
        self.played += 1
        return found

    def validate(self) -> dict[str, float]:
        self.critic.eval()  # and not given back: the loop's affair
        return {"mean": float(self.generator.bias.detach().mean())}

    def state(self) -> dict[str, Any]:
        return {"played": self.played}

    def restore(self, saved: Any) -> None:
        super().restore(saved)
        self.played = saved.state["played"]

    def describe(self) -> dict[str, Any]:
        return {"recipe": "game", "config": {"batch": BATCH}}


def played(folder: Path, stop: int = 0) -> Run:
    """A run; one that is stopped after a step goes on in a new recipe."""

    def interrupt(event: Event) -> None:
        if event.step == stop:
            raise KeyboardInterrupt

    run, game = Run(folder), Game()
    run.start(game.describe())
    try:
        train(game, run, callback=interrupt)
    except KeyboardInterrupt:
        torch.manual_seed(99)
        game = Game()
        train(game, run, resume=True)
    assert game.played == game.plan.total
    return run


def numbers(run: Run) -> list[dict[str, Any]]:
    return [{key: value for key, value in record.items() if key != "seconds"} for record in run.history()]


@pytest.mark.parametrize("stop", [1, 3, 5, 7])  # before any checkpoint, within an epoch, after the first, in the last
def test_a_stopped_game_goes_on_to_the_same_bits(tmp_path: Path, stop: int):
    whole, other = played(tmp_path / "whole"), played(tmp_path / "other", stop)
    assert numbers(other) == numbers(whole)
    for found, expected in zip(other.load().weights.values(), whole.load().weights.values(), strict=True):
        assert all(torch.equal(found[key], expected[key]) for key in expected)


def test_each_network_has_a_file_and_each_optimizer_its_rate(tmp_path: Path):
    run = played(tmp_path / "run")
    (version,) = run.checkpoint.iterdir()
    assert {path.name for path in version.iterdir()} == {"generator.safetensors", "critic.safetensors", "state.pt"}
    assert load_file(version / "generator.safetensors").keys() == {"weight", "bias"}
    saved = run.load()
    assert saved.state["optimizers"].keys() == {"generator", "critic"}
    assert saved.metadata == {"format": 1, "recipe": "game", "config": {"batch": BATCH}}
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
