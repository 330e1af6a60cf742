"""Generating as the rest of renorm knows it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from renorm.recipes.generate.config import Config
from renorm.recipes.generate.exported import export
from renorm.recipes.generate.opened import open_run
from renorm.recipes.generate.recipe import Generation
from renorm.recipes.generate.sample import measured
from renorm.recipes.generate.score import prepare
from renorm.recipes.kind import Kind

if TYPE_CHECKING:
    from renorm.report import Head, Record, Section


def show(record: Record) -> tuple[Head, list[Section]]:
    """What a run's page shows; drawing is imported only then."""
    from renorm.recipes.generate import sections

    return sections.show(record)


ASKS = ("banks", "num_images", "seed", "features")
KIND = Kind(Config, Generation, open_run, show, ASKS, prepare, ("branch", "bank"), export, measured)
