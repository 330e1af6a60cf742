"""What can be trained, and what a run of it opens as. Each name is loaded when it is used first."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from renorm.recipes.asked import Evaluation, Exporting
from renorm.recipes.kind import RECIPES, USUAL, ExportedRun, Kind, Opened, kind_of
from renorm.recipes.options import changed, option

if TYPE_CHECKING:
    from renorm.recipes.classify.named import NamedModel, open_file, open_named, trust_code_of
    from renorm.recipes.equality import unlike
    from renorm.recipes.pages import page_of_run, read_records
    from renorm.recipes.runs import (
        config_of,
        described_run,
        export_opened,
        fit,
        open_run,
        prepare,
        prepare_table,
        recipe_at,
    )
    from renorm.recipes.started import check_typed

__all__ = [
    "RECIPES",
    "USUAL",
    "Evaluation",
    "ExportedRun",
    "Exporting",
    "Kind",
    "NamedModel",
    "Opened",
    "changed",
    "check_typed",
    "config_of",
    "described_run",
    "export_opened",
    "fit",
    "kind_of",
    "open_file",
    "open_named",
    "open_run",
    "option",
    "page_of_run",
    "prepare",
    "prepare_table",
    "read_records",
    "recipe_at",
    "trust_code_of",
    "unlike",
]

_MODULE_OF = {
    "NamedModel": "classify.named",
    "check_typed": "started",
    "config_of": "runs",
    "described_run": "runs",
    "export_opened": "runs",
    "fit": "runs",
    "open_file": "classify.named",
    "open_named": "classify.named",
    "open_run": "runs",
    "page_of_run": "pages",
    "prepare": "runs",
    "prepare_table": "runs",
    "read_records": "pages",
    "recipe_at": "runs",
    "trust_code_of": "classify.named",
    "unlike": "equality",
}


def __getattr__(name: str) -> Any:
    if name in _MODULE_OF:
        return getattr(import_module(f"{__name__}.{_MODULE_OF[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
