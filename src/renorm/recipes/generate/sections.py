"""What the page of a generator's run shows."""

from __future__ import annotations

import base64
from collections.abc import Callable, Sequence
from pathlib import Path

from renorm.recipes.flat import read_config
from renorm.recipes.generate.config import Config
from renorm.recipes.generate.score import REAL, in_words
from renorm.recipes.generate.sheets import SAMPLES, sheet_of
from renorm.report import Chart, Gallery, Head, Picture, Record, Section, figures
from renorm.report.sections import run

SHEETS_NOTE = (
    "A row for each class, at most ten, from the same noise in every sheet: what differs is the statistics that they were made "
    "with. running is what training left; recalibrated was measured for the weights as they are, under the labels."
)
EPOCHS_NOTE = "The same noise after each record of the training."
LOSSES_NOTE = (
    "The hinge losses, means over each record. A discriminator that is sure has 0, one that guesses 2; neither tells how good "
    "pictures are."
)
SHOWN = 6  # sheets of the training


def head(record: Record) -> Head:
    """The beginning of the page."""
    config = read_config(Config, record.about)
    return Head(f"Pictures of {config.data}", in_words(config), findings(record), run.cards(record))


def findings(record: Record) -> list[str]:
    """What the page says in words: the distance of each bank's pictures from real ones."""
    rows = [row for row in record.results.rows if row.measure.startswith("KID")]
    if not rows:
        return []
    numbers = [f"{row.bank} {row.value:.3g}" for row in sorted(rows, key=lambda row: row.value)]
    return [f"Kernel distance from real images, {rows[0].measure}, the smaller the better: {', '.join(numbers)}."]


def sheets(record: Record) -> Section | None:
    """Pictures of each class by each bank."""
    banks = [bank for bank in record.results.banks if bank != REAL]
    found = [] if record.path is None else [(bank, sheet_of(record.path, bank)) for bank in banks]
    pictures = [Picture(bank, uri(path)) for bank, path in found if path.exists()]
    if not pictures:
        return None
    return Section("Pictures", SHEETS_NOTE, [Gallery("by bank", pictures)], run.source(record.results.protocol))


def epochs(record: Record) -> Section | None:
    """Pictures while it was trained."""
    every = [] if record.path is None else sorted((record.path / SAMPLES).glob("epoch-*.png"))
    if not every:
        return None
    places = {round(i * (len(every) - 1) / (SHOWN - 1)) for i in range(SHOWN)}
    pictures = [Picture(every[i].stem.replace("-", " "), uri(every[i])) for i in sorted(places)]
    return Section("How they came about", EPOCHS_NOTE, [Gallery("by epoch", pictures)], run.trained(record))


def losses(record: Record) -> Section | None:
    """Both losses by step."""
    names = [key for key in (record.history[-1] if record.history else ()) if key.startswith("loss/")]
    lines = {name.partition("/")[2]: {str(each["step"]): each[name] for each in record.history} for name in names}
    if not lines:
        return None
    chart = Chart("losses", figures.by_place(lines, "hinge loss", "step", width=figures.WIDTH), "hinge losses by step")
    return Section("Training", LOSSES_NOTE, [chart], run.trained(record))


def uri(path: Path) -> str:
    """A file of a picture inside an address."""
    return f"data:image/png;base64,{base64.b64encode(path.read_bytes()).decode()}"


SECTIONS: Sequence[Callable[[Record], Section | None]] = (sheets, run.table, losses, epochs)


def show(record: Record) -> tuple[Head, list[Section]]:
    """The head of the page, and the sections that there are."""
    return head(record), [section for each in SECTIONS if (section := each(record))]
