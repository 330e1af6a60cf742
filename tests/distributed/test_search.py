"""A search on two processes is the search on one: norms by all images of a step, gradients and losses of all."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torch.testing import assert_close

from renorm.recipes.search import Config
from renorm.recipes.search.recipe import CellSearch
from renorm.recipes.search.together import TogetherNorm, together_
from renorm.train import Run, train
from tests.distributed.ranks import on_ranks
from tests.recipes.search.test_recipe import made

SMALL = Config(
    data="made", width=2, cells=1, norm="sandwich", epochs=1, horizon=None, batch=5, rate=0.1, mixture_rate=0.1
)
PATHS = replace(SMALL, method="paths", mixture_rate=Config.mixture_rate)
CASES: dict[str, Config] = {
    "sandwich": SMALL,
    "second order": replace(SMALL, method="darts-second", norm="affine-free"),
    "paths": replace(PATHS, norm="conditional", statistics="condition"),
    "paths, shared statistics": replace(PATHS, norm="affine", statistics="shared"),
}


def searched(config: Config) -> CellSearch:
    """In float64: in float32 the order of a sum is seen after a few steps."""
    torch.set_default_dtype(torch.float64)
    try:
        found = CellSearch(config, made(22, 0), made(9, 1), device="cpu")
    finally:
        torch.set_default_dtype(torch.float32)
    found.net.register_forward_pre_hook(lambda net, inputs: (inputs[0].double(), *inputs[1:]))
    return found


def numbers(config: Config) -> dict[str, Any]:
    """Losses of an epoch of 2 steps, of 3 and 2 images for two processes; the numbers and weights after it."""
    recipe = searched(config)
    recipe.net.train()
    losses = [recipe.step(batch) for batch in recipe.batches(0, 0)]
    return {"losses": losses, "test": recipe.validate(), "weights": weights(recipe)}


def weights(recipe: CellSearch) -> dict[str, torch.Tensor]:
    return {key: value for key, value in recipe.net.state_dict().items() if not key.endswith("branches")}


def work(rank: int, folder: str) -> dict[str, Any]:
    found: dict[str, Any] = {name: numbers(config) for name, config in CASES.items()}
    recipe, run = searched(replace(SMALL, epochs=2)), Run(Path(folder))
    if recipe.processes.main:
        run.start(recipe.describe())
    train(recipe, run)
    return found


@pytest.mark.slow
def test_two_processes_are_one(tmp_path: Path):
    ranks = on_ranks(2, work, str(tmp_path / "run"))
    for name, config in CASES.items():
        expected = numbers(config)
        assert len(expected["losses"]) == 2
        for found in ranks:
            assert_close(found[name], expected, rtol=1e-7, atol=1e-9, msg=lambda text, name=name: f"{name}: {text}")
    recipe = searched(replace(SMALL, epochs=2))
    recipe.restore(Run(tmp_path / "run").load())  # what several wrote opens in one


def test_norms_of_all_processes_are_plain_norms_in_one():
    norms = nn.ModuleList([nn.BatchNorm2d(3) for _ in range(2)])
    together_(norms[1:])
    x = torch.randn(4, 3, 2, 2)
    assert isinstance(norms[1], TogetherNorm)
    assert torch.equal(norms[0].eval()(x), norms[1].eval()(x))
    assert norms[0].state_dict().keys() == norms[1].state_dict().keys()
