"""What can be trained, and what a run of it opens as. Each name is loaded when it is used first."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from renorm.recipes.asked import Evaluation, Exporting
from renorm.recipes.kind import RECIPES, USUAL, ExportedRun, Kind, Opened, kind_of
from renorm.recipes.options import changed, option

if TYPE_CHECKING:
    from renorm.recipes.classify.named import NamedModel, open_file, open_named, trust_code_of
    from renorm.recipes.equality import unlike
    from renorm.recipes.flat import Flat, configured, options_of, read_config
    from renorm.recipes.pages import page_of_run, read_records
    from renorm.recipes.paths import described, located
    from renorm.recipes.runs import (
        config_of,
        described_run,
        export_opened,
        fit,
        open_run,
        options_at,
        prepare,
        prepare_table,
        recipe_at,
    )
    from renorm.recipes.started import about_of, check_typed

__all__ = [
    "RECIPES",
    "USUAL",
    "Evaluation",
    "ExportedRun",
    "Exporting",
    "Flat",
    "Kind",
    "NamedModel",
    "Opened",
    "about_of",
    "changed",
    "check_typed",
    "config_of",
    "configured",
    "described",
    "described_run",
    "export_opened",
    "fit",
    "kind_of",
    "located",
    "open_file",
    "open_named",
    "open_run",
    "option",
    "options_at",
    "options_of",
    "page_of_run",
    "prepare",
    "prepare_table",
    "read_config",
    "read_records",
    "recipe_at",
    "trust_code_of",
    "unlike",
]

_MODULE_OF = {
    "Flat": "flat",
    "NamedModel": "classify.named",
    "about_of": "started",
    "check_typed": "started",
    "config_of": "runs",
    "configured": "flat",
    "described": "paths",
    "described_run": "runs",
    "export_opened": "runs",
    "fit": "runs",
    "located": "paths",
    "open_file": "classify.named",
    "open_named": "classify.named",
    "open_run": "runs",
    "options_at": "runs",
    "options_of": "flat",
    "page_of_run": "pages",
    "prepare": "runs",
    "prepare_table": "runs",
    "read_config": "flat",
    "read_records": "pages",
    "recipe_at": "runs",
    "trust_code_of": "classify.named",
    "unlike": "equality",
}


def __getattr__(name: str) -> Any:
    if name in _MODULE_OF:
        return getattr(import_module(f"{__name__}.{_MODULE_OF[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
