"""The gradients of a trained run's branches, as its next training steps would have them."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import islice
from pathlib import Path

import torch.nn.functional as F
from torch import Tensor

from renorm.layers import frozen_statistics
from renorm.metrics import LayerGradients, compare_gradients, mean_gradients
from renorm.recipes.classify import Classification
from renorm.recipes.classify.adversarial import still, with_attacks
from renorm.recipes.classify.domains import rows
from renorm.recipes.classify.named import open_run
from renorm.recipes.classify.recipe import routed
from renorm.recipes.classify.views import Batch
from renorm.routing import unstack
from renorm.train import Run

EPOCH = -2  # whose images and views no training has seen


def gradients_of_run(path: Path, steps: int = 1, device: str | None = None) -> list[LayerGradients]:
    """Mean lengths and cosines over some steps: norms normalize by the batch, as in training, and nothing of the run changes.

    Args:
        path: Folder of a run.
        steps: How many batches.
        device: Where to compute; by default on an accelerator if there is one.

    Raises:
        FileNotFoundError: If there is no run, or its training images are not where they were.
        ValueError: If it has no two branches.
    """
    config = open_run(path, device).config
    if len(config.populations) < 2:
        raise ValueError(
            f"{path} trains on {', '.join(config.populations) or 'one branch'} alone: gradients are compared between two "
            f"branches or more. Leave --gradients out, or report a run with several."
        )
    recipe = Classification(config, device=device)
    recipe.restore(Run(path).load())
    recipe.model.train()
    with frozen_statistics(recipe.model):
        batches = islice(recipe.batches(EPOCH, 0), steps)
        return mean_gradients([compare_gradients(weights(recipe), losses(recipe, batch)) for batch in batches])


def weights(recipe: Classification) -> dict[str, Tensor]:
    """The weights of layers, which all branches share."""
    return {name: weight for name, weight in recipe.model.named_parameters() if weight.ndim > 1}


def losses(recipe: Classification, batch: Batch) -> Mapping[str, Tensor]:
    """The cross-entropy of each branch in one forward of all; of a domain, over its images in the batch."""
    config, device = recipe.config, recipe.processes.device
    views, labels = batch.views.to(device), batch.labels.to(device)
    shown = dict(zip(recipe.views, views.unbind(1), strict=True))
    x, spec = recipe.stacked(with_attacks(still(config), recipe.model, recipe.classifier, shown, labels, batch.keys))
    domain = rows(config, recipe.images)[[i for _, i in batch.keys]].to(device) if config.by_domain else None
    with routed(recipe.model, config, spec if domain is None else domain):
        y = recipe.model(x).float()
    if domain is None:
        return {name: F.cross_entropy(part, labels) for name, part in unstack(y, spec).items()}
    each = F.cross_entropy(y, labels, reduction="none")
    members = {name: domain == row for row, name in enumerate(config.populations)}
    return {name: each[mine].sum() / mine.sum().clamp_min(1) for name, mine in members.items()}
