"""Tables and runs whose numbers are known."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch

from renorm.banks import Bank, Statistics
from renorm.evaluate import CellKey, ImageSet, Protocol, Results
from renorm.recipes import options_of
from renorm.recipes.classify import configured
from renorm.report.record import Record
from tests.evaluate import made

N = 200
PROTOCOL = Protocol(
    data=ImageSet("digits", N, "pixels", "labels"),
    classes=10,
    scale=32,
    rounding="8-bit",
    seed=5,
    model="runs/x",
    weights="w",
    banks={"weak": "of the <model>"},
    versions={"torch": "2"},
    command="renorm evaluate runs/x --adapt 32",
)
ACCURACIES: Mapping[CellKey, float] = {
    ("weak", "clean", 0): 0.95,
    ("strong", "clean", 0): 0.93,
    ("clean@weak", "clean", 0): 0.94,
    ("weak", "contrast", 1): 0.60,
    ("strong", "contrast", 1): 0.80,
    ("clean@weak", "contrast", 1): 0.61,
    ("weak", "contrast", 2): 0.40,
    ("strong", "contrast", 2): 0.60,
    ("clean@weak", "contrast", 2): 0.41,
}
HISTORY = [
    {"epoch": e, "step": 5 * e, "rate": 0.1, "loss": 1 / e, "loss/weak": 1 / e, "accuracy/weak": 0.5, "test/weak": 0.6}
    for e in (1, 2, 3)
]


def results(accuracies: Mapping[CellKey, float] = ACCURACIES, *, seed: int = 0, **protocol: Any) -> Results:
    """A table of exactly these accuracies, whose images are hard for all banks alike but for a tenth of the order."""
    order = torch.arange(N) + torch.randint(N // 10, (N,), generator=torch.Generator().manual_seed(seed))
    ranks = order.argsort().argsort()
    hits = {cell: ranks < round(accuracy * N) for cell, accuracy in accuracies.items()}
    return made.results(replace(PROTOCOL, **protocol), hits, 0.02, 5)


def bank(shift: float, sites: Sequence[str] = ("bn1", "layer1.bn")) -> Bank:
    """A bank whose means are all so large, and variances 4."""
    return Bank({site: Statistics(torch.full((3,), shift), torch.full((3,), 4.0)) for site in sites})


def record(
    name: str = "x", seed: int = 3, accuracies: Mapping[CellKey, float] = ACCURACIES, hits: int = 0, **config: Any
) -> Record:
    """A run with two banks that are one standard deviation apart."""
    options = options_of(configured(seed=seed, **config))
    about = {"command": f"renorm train --seed {seed} --out <{name}>", "versions": {"torch": "2"}, "config": options}
    banks = {"weak": bank(0.0), "strong": bank(2.0)}
    return Record(name, about, results(accuracies, seed=hits), options, HISTORY, banks)
