"""Mixing on two processes: each draws its own, and they train one model; a run that was stopped goes on to equal numbers."""

from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.testing import assert_close

import renorm
from renorm.mix.draws import Draw
from renorm.recipes.classify import Classification
from renorm.recipes.classify.mixing import per_row
from renorm.recipes.classify.views import loader
from renorm.train import Event, Order, Run, train
from tests.distributed.ranks import on_ranks
from tests.distributed.test_recipe import recipe
from tests.recipes.classify import small

MIX: dict[str, Any] = {"mix": "exchange+cutmix", "exchange_probability": 0.5, "image_probability": 0.5, "batch": 16}


def plain(draw: Draw | None) -> dict[str, Any]:
    """A draw as a file may hold it."""
    assert draw is not None
    box = None if draw.box is None else list(draw.box)
    return {"permutation": draw.permutation, "exchanged": draw.donors is not None, "box": box, "pixels": draw.pixels}


def steps() -> dict[str, Any]:
    """What each step of an epoch draws on this rank, the numbers of all, and gradients of the first."""
    made, draws, numbers, gradients = recipe(**MIX), [], [], {}
    assert made.mix is not None
    for batch in made.batches(0, 0):
        numbers.append(made.step(batch))
        draws.append(plain(made.mix.draw))
        gradients = gradients or {
            name: p.grad.clone() for name, p in made.model.named_parameters() if p.grad is not None
        }
    return {"draws": draws, "numbers": numbers, "gradients": gradients, "weights": dict(made.model.named_parameters())}


def stopped(folder: Path, stop: int) -> None:
    """A run that is interrupted after a step and goes on in a new recipe; a stop of 0 is a whole run."""

    def interrupt(event: Event) -> None:
        if event.step == stop:
            raise KeyboardInterrupt

    changes = {**MIX, "epochs": 2, "save_every": 2}
    made, run = recipe(**changes), Run(folder)
    if made.processes.main:
        run.start({"config": {}})
    try:
        train(made, run, callback=interrupt)
    except KeyboardInterrupt:
        torch.manual_seed(99)
        made = recipe(**changes)
        train(made, run, resume=True)


def work(rank: int, folder: str) -> dict[str, Any]:
    for stop in (0, 8):  # none, and two steps after a checkpoint within an epoch
        stopped(Path(folder) / f"stopped-{stop}", stop)
    return steps()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("runs")


@pytest.fixture(scope="module")
def ranks(folder: Path) -> list[Any]:
    return on_ranks(2, work, str(folder))


def test_each_process_draws_its_own_and_all_have_the_same_numbers(ranks: list[Any]):
    first, second = (each["draws"] for each in ranks)
    assert len(first) == len(second) == 5
    assert not any(torch.equal(a["permutation"], b["permutation"]) for a, b in zip(first, second, strict=True))
    assert [(d["exchanged"], d["box"]) for d in first] != [(d["exchanged"], d["box"]) for d in second]
    for name in ("numbers", "gradients", "weights"):
        assert_close(ranks[0][name], ranks[1][name], rtol=0, atol=0)
    for step, numbers in enumerate(ranks[0]["numbers"]):
        own = [d["pixels"] * (0.5 if d["exchanged"] else 1) for d in (first[step], second[step])]
        assert numbers["own_label"] == pytest.approx(sum(own) / 2)


def loss_of(made: Classification, rank: int, drawn: dict[str, Any]) -> Tensor:
    """The part of a rank in the loss of the first step, by what it has drawn."""
    batch = next(iter(loader(made.data, Order(40, 8, 0, 0, least=2, rank=rank, ranks=2))))
    views = {name: made.classifier.normalize(batch.views[:, i]) for i, name in enumerate(made.config.branches)}
    x, spec = renorm.stack(views)
    permutation, box = drawn["permutation"], drawn["box"]
    donors, moments = (permutation, 0.5) if drawn["exchanged"] else (None, 1.0)
    draw, mix = Draw(permutation, donors, moments, drawn["pixels"], box and tuple(box)), made.mix
    assert mix is not None
    mix.use(draw)
    with renorm.route(made.model, spec):
        y = made.model(mix.apply(x, draw))
    return mix.loss(lambda y, t: F.cross_entropy(y, t, reduction="sum"), y, per_row(batch.labels, spec)) / (
        2 * batch.total
    )


def test_gradients_are_the_sum_of_what_each_process_has_drawn(ranks: list[Any]):
    made = recipe(**MIX)
    for rank, each in enumerate(ranks):
        loss_of(made, rank, each["draws"][0]).backward()
    gradients = {name: p.grad for name, p in made.model.named_parameters()}
    assert_close(ranks[0]["gradients"], gradients, rtol=1e-6, atol=1e-8)
    for parameter in made.model.parameters():
        parameter.grad = None
    for rank in range(2):  # as if all had drawn alike
        loss_of(made, rank, ranks[0]["draws"][0]).backward()
    with pytest.raises(AssertionError):
        assert_close(ranks[0]["gradients"], {n: p.grad for n, p in made.model.named_parameters()}, rtol=0.02, atol=1e-3)


def test_a_run_that_was_stopped_goes_on_to_equal_numbers(ranks: list[Any], folder: Path):
    whole, other = Run(folder / "stopped-0"), Run(folder / "stopped-8")
    assert len(whole.history()) == 2
    assert small.numbers(other) == small.numbers(whole)
    assert_close(other.load().weights, whole.load().weights, rtol=0, atol=0)
