"""Searching the cell of a network, and ranking cells by the weights that they share."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from renorm.recipes.search.asked import RankOptions
from renorm.recipes.search.config import Config

if TYPE_CHECKING:
    from renorm.recipes.search.mixture import cell_of
    from renorm.recipes.search.opened import SearchRun, config_at, open_run
    from renorm.recipes.search.ranking import CEILING, Ranking, first_cells, rank, sampled, training_batches
    from renorm.recipes.search.recipe import CellSearch
    from renorm.recipes.search.score import accuracies, in_words, prepare_ranking

__all__ = [
    "CEILING",
    "CellSearch",
    "Config",
    "RankOptions",
    "Ranking",
    "SearchRun",
    "accuracies",
    "cell_of",
    "config_at",
    "first_cells",
    "in_words",
    "open_run",
    "prepare_ranking",
    "rank",
    "sampled",
    "training_batches",
]

_MODULE_OF = {
    "CEILING": "ranking",
    "Ranking": "ranking",
    "CellSearch": "recipe",
    "SearchRun": "opened",
    "accuracies": "score",
    "cell_of": "mixture",
    "config_at": "opened",
    "first_cells": "ranking",
    "in_words": "score",
    "open_run": "opened",
    "prepare_ranking": "score",
    "rank": "ranking",
    "sampled": "ranking",
    "training_batches": "ranking",
}


def __getattr__(name: str) -> Any:
    if name in _MODULE_OF:
        return getattr(import_module(f"{__name__}.{_MODULE_OF[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
