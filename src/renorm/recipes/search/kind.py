"""Searching as the rest of renorm knows it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from renorm.recipes.kind import Kind
from renorm.recipes.search.config import Config
from renorm.recipes.search.opened import open_run
from renorm.recipes.search.recipe import CellSearch
from renorm.recipes.search.score import prepare

if TYPE_CHECKING:
    from renorm.report import Head, Record, Section


def show(record: Record) -> tuple[Head, list[Section]]:
    """What a run's page shows; drawing is imported only then."""
    from renorm.recipes.search import sections

    return sections.show(record)


KIND = Kind(Config, CellSearch, open_run, show, ("banks", "num_images", "seed"), prepare)
