"""What a model holds at its sites: read, written and compared."""

from __future__ import annotations

from collections.abc import Mapping

import torch

from renorm.banks.bank import Statistics
from renorm.banks.sites import View
from renorm.stream.step import Source


def values(targets: Mapping[str, View]) -> dict[str, Statistics]:
    """What a model has now, as copies."""
    return {name: Statistics(view.mean.clone(), view.var.clone()) for name, view in targets.items()}


def fill(targets: Mapping[str, View], given: Mapping[str, Statistics | Source]) -> None:
    """Write statistics into a model, in place."""
    with torch.no_grad():
        for name, view in targets.items():
            view.mean.copy_(given[name].mean)
            view.var.copy_(given[name].var)


def same(a: Statistics, b: Statistics) -> bool:
    """Whether two are alike bit for bit, on whatever devices."""
    return torch.equal(a.mean, b.mean.to(a.mean.device)) and torch.equal(a.var, b.var.to(a.var.device))
