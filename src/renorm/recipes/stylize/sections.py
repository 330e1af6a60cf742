"""What the page of a style network shows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from renorm.models import Stylizer
from renorm.recipes.flat import read_config
from renorm.recipes.stylize.config import Config
from renorm.recipes.stylize.opened import open_run
from renorm.recipes.stylize.recipe import held_out, held_pairs
from renorm.recipes.stylize.table import in_words
from renorm.report import Chart, Gallery, Head, Picture, Record, Section, Text, figures
from renorm.report.sections import examples, run

CONTENTS, STYLES = 4, 3  # of the grid
CURVES_NOTE = (
    "Content: how far a stylized picture's features are from the target that the decoder was given. Where the target is "
    "attached this "
    "can fall because the target moves. Style: how far its moments are from the style's. Held out: pairs that are never "
    "trained on."
)
GAMMA_NOTE = "The affine that all styles share, over its channels. Scales of 1 and offsets of 0 are plain AdaIN."
GRID_NOTE = (
    "Contents that were never trained on, in styles that were not: above as they are, below in one style each row."
)
LOSSES = ("reconstruction", "content", "style", "held out/content", "held out/style")


def head(record: Record) -> Head:
    """The beginning of the page."""
    config = read_config(Config, record.about)
    title = f"{config.contents} in the styles of {config.styles}"
    return Head(title, in_words(config), cards=run.cards(record))


def training(record: Record) -> Section | None:
    """Losses by step."""
    lines = lines_of(record.history, LOSSES)
    if not lines:
        return None
    chart = Chart("losses", figures.by_place(lines, "loss", "step", width=figures.WIDTH), "losses by step")
    return Section("Training", CURVES_NOTE, [chart], run.trained(record))


def affine(record: Record) -> Section | None:
    """Where the shared affine went."""
    charts = []
    for name, words in (("weight", "scale"), ("bias", "offset")):
        lines = lines_of(record.history, [f"{name}/{what}" for what in ("min", "mean", "max")])
        if lines:
            shown = {key.partition("/")[2]: line for key, line in lines.items()}
            charts.append(Chart(f"affine-{words}", figures.by_place(shown, words, "step"), f"{words} by step"))
    return Section("The shared affine", GAMMA_NOTE, charts, run.trained(record)) if charts else None


def lines_of(history: Sequence[Mapping[str, Any]], names: Sequence[str]) -> dict[str, dict[str, float]]:
    """Numbers by step, of those names that records have."""
    found = {name: {str(each["step"]): each[name] for each in history if name in each} for name in names}
    return {name: line for name, line in found.items() if line}


def pairs(record: Record) -> Section | None:
    """Held-out pairs, stylized; nothing of them where the pictures have moved, but a word."""
    if record.path is None:
        return None
    try:
        opened = open_run(record.path, "cpu")
        held = held_out(opened.config)
    except (OSError, ValueError) as error:
        return Section("Held-out pairs", GRID_NOTE, [Text(f"Not shown: {error}")])
    if held is None:
        return None
    taken = list(held_pairs(held, opened.config, CONTENTS))
    styles = [style for _, style in held_pairs((held[1], held[1]), opened.config, STYLES)]
    gallery = Gallery("", grid(opened.net, torch.cat([content for content, _ in taken]), styles))
    return Section("Held-out pairs", GRID_NOTE, [gallery], run.trained(record))


@torch.no_grad()
def grid(net: Stylizer, contents: Tensor, styles: Sequence[Tensor]) -> list[Picture]:
    """Contents in a row, then a row of them for each style, which stands first in it."""
    blank = torch.ones_like(contents[:1])
    rows = [("contents", torch.cat([blank, contents]))]
    rows += [
        (f"style {k}", torch.cat([style, net(contents, net.style(style)).clamp(0, 1)]))
        for k, style in enumerate(styles, 1)
    ]
    return [examples.Strip(title, "", (), (255 * row).round().byte()).picture() for title, row in rows]


SECTIONS = (pairs, run.table, training, affine)


def show(record: Record) -> tuple[Head, list[Section]]:
    """The head of the page, and the sections that there are."""
    return head(record), [section for each in SECTIONS if (section := each(record))]
