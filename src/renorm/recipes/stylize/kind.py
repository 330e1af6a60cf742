"""Style transfer as the rest of renorm knows it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from renorm.export import write_stylizer
from renorm.recipes.asked import Exporting
from renorm.recipes.kind import ExportedRun, Kind
from renorm.recipes.stylize.config import Config
from renorm.recipes.stylize.opened import StyleNetwork, open_run
from renorm.recipes.stylize.recipe import Stylization
from renorm.recipes.stylize.table import prepare

if TYPE_CHECKING:
    from renorm.report import Head, Record, Section


def show(record: Record) -> tuple[Head, list[Section]]:
    """What a run's page shows; drawing is imported only then."""
    from renorm.recipes.stylize import sections

    return sections.show(record)


def export(opened: StyleNetwork, asked: Exporting, path: Path, about: Mapping[str, Any]) -> ExportedRun:
    """Write the network as a program whose style is an input."""
    channels = opened.net.encoder.widths[-1]
    takes = {
        "images": ["batch", 3, "height", "width"],
        "mean": [channels],
        "std": [channels],
        "eps": opened.net.eps,
        "pictures": ["batch", 3, "height", "width"],
    }
    words = (
        f"float32 images (batch, 3, height, width) in 0 to 1, sides multiples of 8 from 16 on; mean and std ({channels},) of a "
        f"style, std the root of a bank's var + {opened.net.eps:g}"
    )
    return ExportedRun(write_stylizer(opened.net, path, about=about), words, takes)


KIND = Kind(Config, Stylization, open_run, show, ("banks", "num_images", "seed"), prepare, (), export)
