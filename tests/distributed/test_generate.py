"""A generator trained by two processes is the one of a single process: blocks' norms, and the last one, are synchronized."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch.testing import assert_close

from renorm.recipes.generate.recipe import Generation
from tests.distributed.ranks import on_ranks
from tests.recipes.generate.test_recipe import SMALL, made

CHANGES: dict[str, Any] = {"sync_bn": True, "batch": 4, "generated": 4, "steps": 2, "table_factor": 2.0}


def played(norm: str) -> dict[str, Any]:
    """Losses and weights after two steps, in float64: in float32 the order of a sum moves them."""
    torch.set_default_dtype(torch.float64)
    try:
        recipe = Generation(replace(SMALL, **CHANGES, norm=norm), made(), device="cpu")
        losses = [recipe.step(batch._replace(images=batch.images.double())) for batch in recipe.batches(0, 0)]
        recipe.finish()
    finally:
        torch.set_default_dtype(torch.float32)
    return {"losses": losses, "weights": {name: dict(each) for name, each in recipe.weights().items()}}


def work(rank: int) -> dict[str, Any]:
    return {norm: played(norm) for norm in ("shared", "sandwich")}


@pytest.mark.slow
def test_two_processes_are_one():
    ranks = on_ranks(2, work)
    for norm in ("shared", "sandwich"):
        alone = played(norm)
        for rank in ranks:
            assert_close(rank[norm], alone)
