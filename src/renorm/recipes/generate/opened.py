"""A trained generator with the statistics that it can be sampled by."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from renorm.banks import Bank
from renorm.models import Generator, generator
from renorm.recipes.flat import read_config
from renorm.recipes.generate.config import Config
from renorm.recipes.generate.network import converted
from renorm.recipes.started import about_of, on
from renorm.train import Run, checkpoint

GENERATOR, CRITIC, AVERAGE = "generator", "discriminator", "average"
RUNNING, RECALIBRATED = "running", "recalibrated"
STATISTICS = ("running_mean", "running_var")


@dataclass(frozen=True)
class GeneratorRun:
    """What a run opens as.

    Args:
        model: The generator, of averaged weights where there is an average, in evaluation mode.
        config: How it was trained.
        classes: Names of its classes.
        stored: Statistics that its checkpoint holds: ``running``, those that training left, and ``recalibrated``, those that were
            measured for averaged weights.
        path: Folder of the run.
    """

    model: Generator
    config: Config
    classes: tuple[str, ...]
    stored: Mapping[str, Bank]
    path: Path

    @property
    def device(self) -> torch.device:
        """Where it computes."""
        return next(self.model.parameters()).device

    @property
    def known(self) -> bool:
        """Whether it knows classes."""
        return self.config.norm != "shared"

    def banks(self) -> Mapping[str, Bank]:
        """The statistics by how they came about: all classes have them in common."""
        return self.stored

    def numbers(self, names: tuple[str, ...] = ()) -> list[int]:
        """The classes of some names, or all.

        Raises:
            ValueError: If there is no such class.
        """
        if unknown := [name for name in names if name not in self.classes]:
            raise ValueError(
                f"no class {unknown[0]!r}: the generator has {', '.join(self.classes)}. Name some of these."
            )
        return [self.classes.index(name) for name in names or self.classes]


def config_at(path: Path) -> Config:
    """How the run in a folder was started.

    Raises:
        FileNotFoundError: If there is no run.
        ValueError: If it is of another recipe.
    """
    return read_config(Config, about_of(path, Config.recipe, "renorm train-generator makes it"))


def open_run(path: Path, device: str | None = None) -> GeneratorRun:
    """The generator of a run, from its newest checkpoint.

    Args:
        path: The folder.
        device: Where it computes; by default on a GPU if there is one.

    Raises:
        FileNotFoundError: If there is no run, or no checkpoint in it.
        ValueError: If it is of another recipe, or damaged.
    """
    config, about = config_at(path), Run(path).config()
    plain = generator(config.model, about["size"], width=config.width, latent=config.latent)
    model = converted(plain, about["classes"], config).eval()
    weights = Run(path).load().weights
    checkpoint.load_into(model, weights.get(AVERAGE, weights[GENERATOR]))
    model.to(on(device))
    stored = {RUNNING: _left(model, weights[GENERATOR])}
    if AVERAGE in weights:
        stored[RECALIBRATED] = Bank.of(model)
    return GeneratorRun(model, config, tuple(about["classes"]), stored, path)


@torch.no_grad()
def _left(model: Generator, trained: Mapping[str, Tensor]) -> Bank:
    """The statistics that training left, for a model that keeps its own."""
    statistics = {key: t for key, t in model.named_buffers() if key.endswith(STATISTICS)}
    own = {key: t.clone() for key, t in statistics.items()}
    for key, t in statistics.items():
        t.copy_(trained[key])
    found = Bank.of(model)
    for key, t in statistics.items():
        t.copy_(own[key])
    return found
