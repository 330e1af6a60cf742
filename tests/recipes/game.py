"""A second recipe, whole: a generator of two numbers and its critic, with an optimizer each. It knows no classes.

``KIND`` is all that the commands know of it; ``known`` puts it among the recipes.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from renorm.banks import Bank, measure, using
from renorm.evaluate import Measured, MeasuredTable, Protocol, fingerprint, versions
from renorm.export import write
from renorm.metrics import bootstrap
from renorm.recipes import RECIPES, Evaluation, ExportedRun, Exporting, Kind, described
from renorm.report import Head, Record, Section
from renorm.report.sections import run as sections
from renorm.train import Order, Plan, Processes, Recipe, Run, constant, half_cosine
from renorm.train.checkpoint import load_into

NUM_EXAMPLES, WANTED = 40, 3.0
MADE = {"running": "as training left it", "recalibrated": "measured on 64 more draws"}


@dataclass(frozen=True)
class Config:
    """A game.

    Args:
        epochs: Passes.
        batch: Examples of a step.
        rate: Of the generator.
        save_every: Steps between checkpoints.
        seed: Of the weights.
    """

    recipe: ClassVar[str] = "game"
    epochs: int = 2
    batch: int = 8
    rate: float = 0.01
    save_every: int = 2
    seed: int = 0


class Noise(NamedTuple):
    x: Tensor
    total: int


class Game(Recipe):
    """A generator learns to give numbers like those of a normal distribution elsewhere; its noise is torch's own."""

    def __init__(self, config: Config | None = None, *, device: str | None = None) -> None:
        self.config = config or Config()
        torch.manual_seed(self.config.seed)
        self.generator = generator()
        self.critic = nn.Sequential(nn.Linear(2, 4), nn.Dropout(0.2), nn.Linear(4, 1))
        self.networks = {"generator": self.generator, "critic": self.critic}
        self.optimizers = {
            "generator": torch.optim.Adam(self.generator.parameters()),
            "critic": torch.optim.SGD(self.critic.parameters(), momentum=0.9),
        }
        self.processes = Processes(torch.device(device or "cpu"))
        self.plan = Plan(self.config.epochs, NUM_EXAMPLES // self.config.batch, self.config.save_every)
        self.played = 0

    def rates(self, step: int) -> Mapping[str, float]:
        return {"generator": constant(step, self.config.rate), "critic": half_cosine(step, 0.1, self.plan.total)}

    def batches(self, epoch: int, first: int) -> Iterator[Noise]:
        for share in Order(NUM_EXAMPLES, self.config.batch, 0, epoch, first):
            draws = [torch.randn(2, generator=torch.Generator().manual_seed(100 * e + i)) for e, i in share.keys]
            yield Noise(WANTED + torch.stack(draws), share.total)

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
        return {"mean": float(self.generator.get_parameter("1.bias").detach().mean())}

    def state(self) -> dict[str, Any]:
        return {"played": self.played}

    def restore(self, saved: Any) -> None:
        super().restore(saved)
        self.played = saved.state["played"]

    def describe(self) -> dict[str, Any]:
        return described(self.config)


def generator() -> nn.Sequential:
    return nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2))


class Player(NamedTuple):
    """What a run opens as."""

    generator: nn.Sequential

    def banks(self) -> dict[str, Bank]:
        return {"running": Bank.of(self.generator, affine=True)}


def opened(path: Path, device: str | None = None) -> Player:
    made = generator()
    load_into(made, Run(path).load().weights["generator"])
    return Player(made.to(device or "cpu").eval())


def evaluate(player: Player, asked: Evaluation, *, model: str = "", command: str = "") -> MeasuredTable:
    """How far what is made is from what is wanted, with the statistics of training and with others."""
    if unknown := [name for name in asked.banks if name not in MADE]:
        raise ValueError(f"no bank {unknown[0]!r}: one of {', '.join(MADE)} is needed. Name some of these.")
    count = asked.num_images or 50
    protocol = Protocol(
        seed=asked.seed,
        model=model,
        weights=fingerprint(player.generator),
        banks={name: MADE[name] for name in asked.banks or MADE},
        versions=versions(torch.device("cpu")),
        command=command,
    )

    def measured(bank: str) -> dict[str, Measured]:
        given = player.banks()["running"]
        if bank == "recalibrated":
            given = measure(player.generator, [noise(64, asked.seed + 1)])
        with using(player.generator, given), torch.no_grad():
            made = player.generator(noise(count, asked.seed))
        far = (made - WANTED).square().sum(1)
        number = bootstrap([far], asked.seed)
        return {
            "squared distance": Measured(number.value, count, number.low, number.high, far),
            "deviation": Measured(float(made.std()), count),
        }

    return MeasuredTable(protocol, measured, "generated", notes=[f"{count} pairs of numbers, seed {asked.seed}"])


def noise(count: int, seed: int) -> Tensor:
    return torch.randn(count, 2, generator=torch.Generator().manual_seed(seed))


def show(record: Record) -> tuple[Head, list[Section]]:
    head = Head("A game", f"{record.config['epochs']} epochs, seed {record.seed}", cards=sections.cards(record))
    return head, [sections.table(record)]


def export(player: Player, asked: Exporting, path: Path, about: Mapping[str, Any]) -> ExportedRun:
    file = write(player.generator, path, noise(4, 0), about={**about, "bank": "running"})
    return ExportedRun(file, "float32 noise (batch, 2)", {"shape": ["batch", 2]})


ASKS = ("banks", "num_images", "seed")
KIND = Kind(Config, Game, opened, show, ASKS, evaluate, (), export)


@contextmanager
def known() -> Iterator[None]:
    """The game is one of the recipes."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(RECIPES.modules, Config.recipe, __name__)
        yield
