"""Classification as the rest of renorm knows it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from renorm.recipes.classify.config import Config
from renorm.recipes.classify.exported import export
from renorm.recipes.classify.named import open_run
from renorm.recipes.classify.recipe import Classification
from renorm.recipes.classify.score import prepare
from renorm.recipes.kind import Kind

if TYPE_CHECKING:
    from renorm.report import Head, Record, Section


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
KIND = Kind(Config, Classification, open_run, show, ASKS, prepare, EXPORTS, export)
