"""What is shown of results: tables in a terminal, figures, pages. Modules that draw are imported when they are used first."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from renorm.report.grid import Grid, accuracy_grid
from renorm.report.page import page
from renorm.report.record import Record, Side, distinct_names, read_record, read_records, sides
from renorm.report.section import (
    Beside,
    Chart,
    Command,
    Facts,
    Folded,
    Gallery,
    Head,
    Heat,
    Part,
    Picture,
    Section,
    Text,
)
from renorm.report.summary import adapting, finding
from renorm.report.versus import Versus, versus

if TYPE_CHECKING:
    from renorm.report import bars, by_images, cells, figures, heat, heat_map, paper, sections, terminal

__all__ = [
    "Beside",
    "Chart",
    "Command",
    "Facts",
    "Folded",
    "Gallery",
    "Grid",
    "Head",
    "Heat",
    "Part",
    "Picture",
    "Record",
    "Section",
    "Side",
    "Text",
    "Versus",
    "accuracy_grid",
    "adapting",
    "bars",
    "by_images",
    "cells",
    "distinct_names",
    "figures",
    "finding",
    "heat",
    "heat_map",
    "page",
    "paper",
    "read_record",
    "read_records",
    "sections",
    "sides",
    "terminal",
    "versus",
]


def __getattr__(name: str) -> Any:
    if name in __all__:
        return import_module(f"{__name__}.{name}")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
