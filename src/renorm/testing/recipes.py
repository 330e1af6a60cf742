"""Laws of a recipe: what the training loop relies on."""

from __future__ import annotations

import json
import math
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from renorm.testing.sites import exactly, values
from renorm.train import Event, Recipe, Run, train


@dataclass(frozen=True)
class Training:
    """A recipe that trains a few steps.

    Args:
        recipe: makes it, alike each time.
        stop: after which step a run is stopped, to be gone on with from its newest checkpoint; by default in the last epoch.
    """

    recipe: Callable[[], Recipe]
    stop: int | None = None


def trained(
    recipe: Callable[[], Recipe],
    folder: Path,
    stop: int = 0,
    during: Callable[[Recipe, Event], None] | None = None,
) -> Run:
    """A run; one that is stopped after a step goes on in a new recipe, where torch's own draws are elsewhere.

    Args:
        recipe: Makes it.
        folder: Of the run.
        stop: After which step; 0 for none.
        during: Done after each step.
    """
    started, run = recipe(), Run(folder)

    def interrupt(event: Event) -> None:
        if during:
            during(started, event)
        if event.step == stop:
            raise KeyboardInterrupt

    run.start(started.describe())
    try:
        train(started, run, callback=interrupt)
    except KeyboardInterrupt:
        torch.manual_seed(99)
        train(recipe(), run, resume=True)
    return run


def numbers(run: Run) -> list[dict[str, Any]]:
    """The metrics without the time they took."""
    return [{key: value for key, value in record.items() if key != "seconds"} for record in run.history()]


def same(one: Run, other: Run) -> bool:
    """Whether two runs have the same numbers, and networks of the same bits."""
    found, expected = (run.load().weights for run in (one, other))
    assert found.keys() == expected.keys()
    return numbers(one) == numbers(other) and all(
        torch.equal(value, expected[name][key]) for name, tensors in found.items() for key, value in tensors.items()
    )


def a_stopped_run_goes_on_to_the_same_bits(subject: Training) -> None:
    """Stopped after a step and gone on with in a new process, a run ends with the numbers and weights of one that was not."""
    stop = subject.stop or subject.recipe().plan.total - 1
    with tempfile.TemporaryDirectory() as folder:
        whole = trained(subject.recipe, Path(folder) / "whole")
        assert same(trained(subject.recipe, Path(folder) / "stopped", stop), whole)


def validating_changes_nothing(subject: Training) -> None:
    """Validating leaves networks as they are; twice it gives the same numbers."""
    recipe = subject.recipe()
    recipe.finish()
    before = {name: values(network) for name, network in recipe.networks.items()}
    first, second = recipe.validate(), recipe.validate()
    for name, network in recipe.networks.items():
        exactly(values(network), before[name])
    assert first == second


def each_optimizer_has_a_rate(subject: Training) -> None:
    """At every step each optimizer has a learning rate, finite and not below 0."""
    recipe = subject.recipe()
    for step in range(recipe.plan.total):
        rates = recipe.rates(step)
        assert rates.keys() == recipe.optimizers.keys()
        assert all(0 <= rate < math.inf for rate in rates.values())


def it_says_what_it_is(subject: Training) -> None:
    """Its description is JSON, has its name and its options, and is the same each time."""
    first, second = (json.loads(json.dumps(subject.recipe().describe())) for _ in range(2))
    assert {"recipe", "config"} <= first.keys()
    assert first == second


LAWS: tuple[Callable[[Training], None], ...] = (
    it_says_what_it_is,
    each_optimizer_has_a_rate,
    validating_changes_nothing,
    a_stopped_run_goes_on_to_the_same_bits,
)
