"""Classification as the rest of renorm knows it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from renorm.recipes.classify.config import Config
from renorm.recipes.classify.exported import export
from renorm.recipes.classify.flat import options_of
from renorm.recipes.classify.named import open_run
from renorm.recipes.classify.recipe import Classification
from renorm.recipes.classify.saved import config_of
from renorm.recipes.classify.score import prepare
from renorm.recipes.kind import Kind

if TYPE_CHECKING:
    from renorm.report import Head, Record, Section


def options(about: Mapping[str, Any]) -> dict[str, Any]:
    """All options of a run, defaults where it is older than one, paths as they were typed."""
    return options_of(config_of(about)) | about.get("typed", {})


def show(record: Record) -> tuple[Head, list[Section]]:
    """What a run's page shows; drawing is imported only then."""
    from renorm.recipes.classify import sections

    return sections.show(record)


ASKS = (
    "data",
    "skip_damaged",
    "train",
    "banks",
    "shifts",
    "scale",
    "rounding",
    "num_images",
    "adapt",
    "prior",
    "seed",
    "alexnet",
    "attacks",
)
EXPORTS = ("branch", "bank", "size", "normalize", "train", "seed")
KIND = Kind(Config, config_of, Classification, open_run, options, show, ASKS, prepare, EXPORTS, export)
