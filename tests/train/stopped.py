"""A law of all recipes: stopped after any step, a run goes on in a new process to the same bits."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from renorm.train import Event, Recipe, Run, train


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
