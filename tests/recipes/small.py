"""A recipe small enough for tests."""

from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from renorm.data import Images, load
from renorm.recipes.classify import Classification, Config
from renorm.recipes.loop import Event, Progress, train
from renorm.recipes.run import Run

CONFIG: dict[str, Any] = {
    "data": "digits",
    "model": "resnet8",
    "branches": ("weak", "clean"),
    "epochs": 2,
    "batch": 64,
    "rate": 0.05,
    "save_every": 2,
}


def images(num_train: int = 160, num_test: int = 60) -> tuple[Images, Images]:
    return load("digits").subset(range(num_train)), load("digits", split="test").subset(range(num_test))


def recipe(**changes: Any) -> Classification:
    return Classification(Config(**{**CONFIG, **changes}), *images())


def start(folder: Path, resume: bool = False, callback: Callable[[Event], None] | None = None, **changes: Any) -> Run:
    made, run = recipe(**changes), Run(folder)
    if not resume:
        run.start(asdict(made.config))
    progress: Progress = train(made, made.plan, run, resume, callback)
    assert progress.step == made.plan.total == 10
    return run


def numbers(run: Run) -> list[dict[str, Any]]:
    """The metrics without the time they took."""
    return [{key: value for key, value in record.items() if key != "seconds"} for record in run.history()]
