"""Trackers get every number of a record, under its step."""

from pathlib import Path
from typing import Any

import pytest
import torch

from renorm.train import Processes, check_trackers, tracking

ALONE = Processes(torch.device("cpu"))


def test_trackers_that_are_not_there_are_refused():
    with pytest.raises(ValueError, match=r"no tracker 'diary': accelerate has aim, .*wandb.*. Choose among them"):
        check_trackers(["diary"])


def test_a_tracker_without_its_library_says_what_to_install(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("accelerate.tracking.get_available_trackers", lambda: ["tensorboard"])
    message = r"the tracker wandb needs its library, which is not installed; tensorboard is. .* pip install wandb"
    with pytest.raises(ValueError, match=message):
        check_trackers(["tensorboard", "wandb"])


def test_each_gets_numbers_under_their_steps_and_is_told_the_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    told: list[Any] = []

    class Diary:
        name, requires_logging_directory = "diary", False

        def __init__(self, run: str) -> None:
            told.append(run)

        def start(self) -> None:
            told.append("start")

        def log(self, values: dict[str, float], step: int) -> None:
            told.append((step, values))

        def finish(self) -> None:
            told.append("end")

    monkeypatch.setattr("accelerate.tracking.LOGGER_TYPE_TO_CLASS", {"diary": Diary})
    monkeypatch.setattr("accelerate.tracking.get_available_trackers", lambda: ["diary"])
    with tracking(tmp_path / "run", ["diary"], ALONE) as write:
        write({"epoch": 1, "step": 5.0, "loss": 0.5})
    assert told == ["run", "start", (5, {"epoch": 1, "loss": 0.5}), "end"]


def test_with_none_there_is_nothing_to_tell(tmp_path: Path):
    with tracking(tmp_path, [], ALONE) as write:
        write({"step": 1.0})
    assert not list(tmp_path.iterdir())
