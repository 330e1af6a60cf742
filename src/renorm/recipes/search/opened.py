"""A trained supernet with its images and the table that says how good cells are."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from torch import Generator

from renorm.banks import Bank
from renorm.data import CellTable, Images, load, nasbench201, splits_of
from renorm.models import Classifier, Supernet
from renorm.recipes.flat import read_config
from renorm.recipes.search.config import Config
from renorm.recipes.started import about_of, on
from renorm.train import Run, checkpoint

HOLDOUT = 0.2  # share of images without splits that nothing is trained on
SUPERNET = "supernet"
CLASSES = {"cifar10": 10, "cifar100": 100, "imagenet16-120": 120}  # of the columns of the table


@dataclass(frozen=True)
class SearchRun:
    """What a run opens as.

    Args:
        classifier: The supernet, in evaluation mode, with what its input is normalized by.
        config: How it was trained.
    """

    classifier: Classifier
    config: Config

    @property
    def net(self) -> Supernet:
        """The supernet."""
        assert isinstance(self.classifier.model, Supernet)
        return self.classifier.model

    def banks(self) -> Mapping[str, Bank]:
        """None: each path has its own, which :func:`renorm.recipes.search.rank` measures."""
        return {}

    @cached_property
    def images(self) -> Images:
        """It was trained on."""
        return images_of(self.config, "train")

    @cached_property
    def test(self) -> Images:
        """Nothing was trained on."""
        return images_of(self.config, "test")


def images_of(config: Config, split: str) -> Images:
    """The images of a split; of those without splits four fifths, or the rest."""
    holdout = 0.0 if splits_of(config.data) else HOLDOUT
    return load(config.data, split, size=config.size, holdout=holdout, download=config.download)


def supernet_of(config: Config, num_classes: int, generator: Generator | None = None) -> Supernet:
    """The network that a configuration asks for."""
    sizes: Any = {name: getattr(config, name) for name in ("width", "cells", "norm", "statistics")}
    return Supernet(num_classes, generator=generator, **sizes)


def table_of(path: str | None, column: str, num_classes: int) -> CellTable | None:
    """The accuracies of all cells on the data set that images are of, where a file of them is named.

    Raises:
        ValueError: If the column is of a data set with another number of classes, or the file is no such table.
    """
    if path is None:
        return None
    if CLASSES.get(column, num_classes) != num_classes:
        raise ValueError(
            f"--column {column} is of {CLASSES[column]} classes, and the images are of {num_classes}: cells are to be judged "
            f"on the data that they were trained on. Name the column of these, or leave --table out."
        )
    return nasbench201(path, column)


def config_at(path: Path) -> Config:
    """How the run in a folder was started.

    Raises:
        FileNotFoundError: If there is no run.
        ValueError: If it is of another recipe.
    """
    return read_config(Config, about_of(path, Config.recipe, "renorm search makes it"))


def open_run(path: Path, device: str | None = None) -> SearchRun:
    """The supernet of a run, from its newest checkpoint.

    Args:
        path: The folder.
        device: Where it computes; by default on a GPU if there is one.

    Raises:
        FileNotFoundError: If there is no run, or no checkpoint in it.
        ValueError: If it is of another recipe, or damaged.
    """
    config, about = config_at(path), Run(path).config()
    net = supernet_of(config, len(about["classes"]))
    checkpoint.load_into(net, Run(path).load().weights[SUPERNET])
    net.to(on(device)).eval()
    return SearchRun(Classifier(net, about["mean"], about["std"], classes=tuple(about["classes"])), config)
