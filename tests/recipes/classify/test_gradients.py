"""Gradients of a run's branches: those of a training step, which is not made."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch.testing import assert_close

from renorm.recipes.classify.gradients import gradients_of_run, losses, weights
from renorm.report.page import page
from renorm.report.section import Head
from renorm.report.sections.gradients import TITLE, cosines, gradients, lengths
from tests.recipes.classify import small
from tests.recipes.classify.test_domains import recipe as by_domain


def test_the_losses_are_those_of_a_step():
    changes: dict[str, Any] = {"branches": ("clean", "adv"), "attack_steps": 1, "batch": 32}
    made, again = small.recipe(**changes), small.recipe(**changes)
    batch = next(iter(made.batches(0, 0)))
    made.model.train()
    again.model.train()
    found = {name: loss.item() for name, loss in losses(made, batch).items()}
    numbers = again.step(batch)
    assert_close(found, {"clean": numbers["loss/clean"], "adv": numbers["loss/adv"]}, rtol=1e-4, atol=1e-5)
    assert set(weights(made)) == {name for name, p in made.model.named_parameters() if p.ndim > 1}


@pytest.mark.parametrize("norm", ["split", "shared"])
def test_the_losses_of_domains_are_over_their_images(norm: str):
    made, again = by_domain(norm=norm), by_domain(norm=norm)
    batch = next(iter(made.batches(0, 0)))
    made.model.train()
    again.model.train()
    domain = made.images.domain
    assert domain is not None
    counts = torch.bincount(domain[[i for _, i in batch.keys]], minlength=3)
    found = losses(made, batch)
    assert list(found) == ["photo", "art", "sketch"]
    mean = sum(n * loss for n, loss in zip(counts.tolist(), found.values(), strict=True)) / 32
    assert_close(torch.as_tensor(mean).item(), again.step(batch)["loss"], rtol=1e-4, atol=1e-5)


def test_of_a_run_and_its_picture(tmp_path: Path):
    run = small.start(tmp_path / "run")
    before = {path: path.stat().st_mtime_ns for path in run.path.rglob("*") if path.is_file()}
    found = gradients_of_run(run.path, steps=2)
    assert {path: path.stat().st_mtime_ns for path in run.path.rglob("*") if path.is_file()} == before
    assert all(layer.norms["weak"] > 0 and -1 <= layer.cosines["weak", "clean"] <= 1 for layer in found)
    assert [layer.name for layer in gradients_of_run(run.path, steps=2)] == [layer.name for layer in found]
    assert list(lengths({"": found})) == ["weak", "clean"]
    assert list(cosines({"a": found, "b": found})) == ["a: weak and clean", "b: weak and clean"]
    assert "conv1" in lengths({"": found})["weak"]
    text = page(Head("x", "y"), [gradients({"": found}, 2)])
    assert TITLE in text
    assert "a mean over 2 steps" in text
    assert text.count("<svg") == 2


def test_a_run_of_one_branch_has_none(tmp_path: Path):
    run = small.start(tmp_path / "run", branches=("weak",), batch=16, norm="shared")
    with pytest.raises(ValueError, match=r"trains on weak alone: .*two branches or more. Leave --gradients out"):
        gradients_of_run(run.path)
