"""Averaged weights are used with statistics of their own, never with those of the weights that trained."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.testing import assert_close

import renorm
from renorm.banks import Choice
from renorm.evaluate import logits
from renorm.layers import SplitBatchNorm
from renorm.recipes import open_run
from renorm.recipes.classify import Classification
from renorm.recipes.classify.recipe import MEASURING
from renorm.train import Average, Order
from tests.oracles.statistics import pooled, seen_in_training
from tests.recipes.classify import small


def test_the_average_is_the_sum_of_all_weights_so_far():
    model = nn.Linear(3, 2)
    average, seen = Average(model, 0.9), [[p.detach().clone().double() for p in model.parameters()]]
    for _ in range(120):
        with torch.no_grad():
            for p in model.parameters():
                p.add_(torch.randn_like(p))
        average.update(model)
        seen.append([p.detach().clone().double() for p in model.parameters()])
    weights = [1.0]
    for step in range(120):
        decay = min(0.9, (1 + step) / (10 + step))
        weights = [decay * w for w in weights] + [1 - decay]
    assert_close(sum(weights), 1.0)
    for i, own in enumerate(average.model.parameters()):
        expected = sum(w * each[i] for w, each in zip(weights, seen, strict=True))
        assert_close(own.double(), expected, rtol=1e-4, atol=1e-5)
        assert not own.requires_grad


def trained(**changes: Any) -> Classification:
    recipe = small.recipe(**{"ema": 0.9, "ema_images": 40, "batch": 32, "rate": 0.2, **changes})
    for batch in list(recipe.batches(0, 0))[:4]:
        recipe.step(batch)
    return recipe


def shown(recipe: Classification, index: int) -> list[Tensor]:
    """The images that statistics are measured on, under one branch's view: two batches of 16, of the 40 asked for."""
    order = list(Order(160, 16, recipe.config.seed, MEASURING))[:2]
    items = [torch.stack([recipe.data[key][0][index] for key in share.keys]) for share in order]
    return [recipe.classifier.normalize(x) for x in items]


def law(recipe: Classification, branches: list[int]) -> None:
    """Statistics of a plain model are those of what its norms are given in training mode, by the oracle."""
    model = recipe.evaluated
    name = recipe.config.branches[branches[0]]
    plain = renorm.fold(model, name) if recipe.config.split else model
    views = [shown(recipe, index) for index in branches]
    batches = [torch.stack(parts, 1).flatten(0, 1) for parts in zip(*views, strict=True)]
    for site, features in seen_in_training(plain, batches).items():
        mean, var, _ = pooled(features)
        found = plain.get_submodule(site)
        assert_close(found.get_buffer("running_mean").double(), mean, rtol=1e-4, atol=1e-5)
        assert_close(found.get_buffer("running_var").double(), var, rtol=1e-4, atol=1e-5)


def test_each_branch_is_measured_under_its_own_view():
    recipe = trained()
    with pytest.raises(AssertionError):  # statistics that nobody has measured: so the law can fail
        law(recipe, [0])
    recipe.average.copy_buffers(recipe.model) if recipe.average else None
    with pytest.raises(AssertionError):  # those of the weights that trained
        law(recipe, [1])
    recipe.finish()
    law(recipe, [0])
    law(recipe, [1])


def test_shared_norms_are_measured_on_all_views_together():
    recipe = trained(norm="shared")
    recipe.finish()
    law(recipe, [0, 1])


def test_shared_statistics_are_measured_through_each_branches_affine():
    recipe = trained(share=("statistics",))
    recipe.finish()
    views = [recipe.evaluated.get_submodule("conv1")(torch.cat(shown(recipe, index))) for index in (0, 1)]
    mean, var, _ = pooled([torch.cat(views).detach()])
    site = recipe.evaluated.get_submodule("bn1")
    assert isinstance(site, SplitBatchNorm)
    assert_close(site.get_buffer("running_mean").double(), mean, rtol=1e-4, atol=1e-5)
    assert_close(site.get_buffer("running_var").double(), var, rtol=1e-4, atol=1e-5)


def test_what_is_saved_and_opened_is_the_average_with_its_statistics(tmp_path: Path):
    recipe = small.recipe(ema=0.9, ema_images=32)
    run = small.start(tmp_path / "run", ema=0.9, ema_images=32)
    named = open_run(run.path)
    own = run.load().state["model"]
    assert any(
        not torch.equal(own[key].cpu(), value.cpu()) for key, value in named.classifier.model.state_dict().items()
    )
    choices = {name: Choice(name) for name in ("weak", "clean")}
    found = logits(named.classifier, recipe.test, choices)
    for name, y in found.items():
        accuracy = (y.argmax(1) == recipe.test.labels).double().mean().item()
        assert_close(accuracy, run.history()[-1][f"test/{name}"])
