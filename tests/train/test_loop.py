from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from renorm.train import Plan, Run, checkpoint
from tests.recipes.classify import small


def test_the_rate_rises_and_falls_to_zero():
    plan = Plan(epochs=10, steps=7, rate=0.4, warmup=2)
    rates = [plan.rate_at(step) for step in range(plan.total)]
    assert rates.index(max(rates)) == 14
    assert_close(max(rates), 0.4)
    assert rates[:15] == sorted(rates[:15])
    assert rates[14:] == sorted(rates[14:], reverse=True)
    assert_close(rates[14 + 28], 0.2)
    assert 0 < rates[-1] < 0.001
    assert rates[0] > 0


def test_a_run_shorter_than_its_warmup_still_trains():
    assert [Plan(1, 2, 0.1, warmup=5).rate_at(step) > 0 for step in range(2)] == [True, True]


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
    assert all(value.isfinite().all() for value in saved.weights.values())


def test_a_step_reports_its_progress(tmp_path: Path):
    events = []
    run = small.start(tmp_path / "run", callback=events.append)
    assert [event.step for event in events] == list(range(1, 11))
    assert {event.total for event in events} == {10}
    assert events[4].means["loss"] == run.history()[0]["loss"]
    assert [record["epoch"] for record in run.history()] == [1, 2]
    assert [path.name for path in checkpoint.versions(run.checkpoint)] == ["step-00000010"]
