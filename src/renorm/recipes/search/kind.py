"""Searching as the rest of renorm knows it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from renorm.recipes.kind import Kind
from renorm.recipes.search.config import Config
from renorm.recipes.search.opened import open_run, read
from renorm.recipes.search.recipe import CellSearch
from renorm.recipes.search.score import prepare

if TYPE_CHECKING:
    from renorm.report import Head, Record, Section


def options(about: Mapping[str, Any]) -> dict[str, Any]:
    """All options of a run."""
    return asdict(read(about))


def show(record: Record) -> tuple[Head, list[Section]]:
    """What a run's page shows; drawing is imported only then."""
    from renorm.recipes.search import sections

    return sections.show(record)


KIND = Kind(Config, read, CellSearch, open_run, options, show, ("banks", "num_images", "seed"), prepare)
