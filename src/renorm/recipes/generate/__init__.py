"""Generating pictures of classes, with norms that know the class. Each name is loaded when it is used first."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from renorm.recipes.generate.config import Config

if TYPE_CHECKING:
    from renorm.recipes.generate.features import Space, space_of, train_own
    from renorm.recipes.generate.opened import GeneratorRun, config_at, open_run
    from renorm.recipes.generate.recipe import Generation
    from renorm.recipes.generate.sample import Way, in_turn, sampled, way_of
    from renorm.recipes.generate.score import in_words
    from renorm.recipes.generate.sheets import sheet
    from renorm.recipes.generate.written import check_place, write_samples

__all__ = [
    "Config",
    "Generation",
    "GeneratorRun",
    "Space",
    "Way",
    "check_place",
    "config_at",
    "in_turn",
    "in_words",
    "open_run",
    "sampled",
    "sheet",
    "space_of",
    "train_own",
    "way_of",
    "write_samples",
]

_MODULE_OF = {
    "Generation": "recipe",
    "GeneratorRun": "opened",
    "Space": "features",
    "Way": "sample",
    "check_place": "written",
    "config_at": "opened",
    "in_turn": "sample",
    "in_words": "score",
    "open_run": "opened",
    "sampled": "sample",
    "sheet": "sheets",
    "space_of": "features",
    "train_own": "features",
    "way_of": "sample",
    "write_samples": "written",
}


def __getattr__(name: str) -> Any:
    if name in _MODULE_OF:
        return getattr(import_module(f"{__name__}.{_MODULE_OF[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
