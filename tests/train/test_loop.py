from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from renorm.train import Run, checkpoint
from tests.recipes.classify import small


def test_a_loss_that_is_no_number_stops_and_keeps_the_last_checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    steps = []

    def normalize(self: Any, x: Tensor) -> Tensor:
        steps.append(len(x))
        return x.float() / 255 if len(steps) <= 2 * 3 else x.float() * torch.nan

    monkeypatch.setattr("renorm.models.Classifier.normalize", normalize)
    message = r"the loss became nan at a learning rate of .* a finite loss is needed.*checkpoint is kept. Lower --rate"
    with pytest.raises(FloatingPointError, match=message):
        small.start(tmp_path / "run")
    saved = Run(tmp_path / "run").load()
    assert saved.state["progress"]["step"] == 2
    assert all(value.isfinite().all() for value in saved.weights["model"].values())


def test_a_step_reports_its_progress(tmp_path: Path):
    events = []
    run = small.start(tmp_path / "run", callback=events.append)
    assert [event.step for event in events] == list(range(1, 11))
    assert {event.total for event in events} == {10}
    assert events[4].means["loss"] == run.history()[0]["loss"]
    assert [record["epoch"] for record in run.history()] == [1, 2]
    assert [path.name for path in checkpoint.versions(run.checkpoint)] == ["step-00000010"]
