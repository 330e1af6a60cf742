"""A recipe small enough for tests."""

from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from renorm.data import Images, load
from renorm.recipes.classify import Classification, configured
from renorm.train import Event, Run, train
from renorm.train.loop import Progress

CONFIG: dict[str, Any] = {
    "data": "digits",
    "model": "resnet8",
    "branches": ("weak", "clean"),
    "epochs": 2,
    "batch": 64,
    "rate": 0.05,
    "save_every": 2,
}


class Plain(nn.Module):
    """A network whose norms look at one image at a time: no running statistics, and dividing a batch changes nothing."""

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        self.conv, self.norm, self.head = nn.Conv2d(3, 8, 3), nn.GroupNorm(2, 8), nn.Linear(8, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.norm(self.conv(x)).relu().mean((2, 3)))


def images(num_train: int = 160, num_test: int = 60) -> tuple[Images, Images]:
    return load("digits").subset(range(num_train)), load("digits", split="test").subset(range(num_test))


def recipe(**changes: Any) -> Classification:
    return Classification(configured(**{**CONFIG, **changes}), *images())


def start(folder: Path, resume: bool = False, callback: Callable[[Event], None] | None = None, **changes: Any) -> Run:
    """Ten steps over half of the images, and their run."""
    made, run = Classification(configured(**{**CONFIG, "batch": 32, **changes}), *images(80)), Run(folder)
    if not resume:
        run.start(asdict(made.config))
    progress: Progress = train(made, run, resume=resume, callback=callback)
    assert progress.step == made.plan.total == 10
    return run


def numbers(run: Run) -> list[dict[str, Any]]:
    """The metrics without the time they took."""
    return [{key: value for key, value in record.items() if key != "seconds"} for record in run.history()]
