"""Figures for a paper, by matplotlib: a heat map, the trade-off, the training, the distances between banks."""

from __future__ import annotations

import io
import re
from collections.abc import Mapping, Sequence
from itertools import cycle, groupby
from math import isfinite
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.ticker import MaxNLocator

from renorm.files import write_atomically
from renorm.report.colors import FAINT, INK, LINES, PAPER, ink_on, of_accuracy, of_change, span
from renorm.report.grid import Grid, Line, curves_of, halves, mixture
from renorm.report.heat import short
from renorm.report.plots import MANY, Curve
from renorm.report.summary import Point, limits, signed

RULES: Any = {
    "font.family": "sans-serif",
    "font.size": 9,
    "text.color": INK,
    "axes.labelcolor": INK,
    "axes.edgecolor": "#94a3b8",
    "axes.linewidth": 0.8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#e2e8f0",
    "grid.linewidth": 0.6,
    "xtick.color": INK,
    "ytick.color": INK,
    "legend.frameon": False,
    "legend.fontsize": 8,
    "lines.linewidth": 1.5,
}
DOTS = 200  # per inch
WIDTH = 6.5  # inches: the text of a page


def save(figures: Mapping[str, Figure], folder: Path, command: str = "") -> list[Path]:
    """Write each figure as a PNG under its name, which says the command that made it."""
    return [
        write_atomically(folder / f"{_file_name(name)}.png", png(figure, command)) for name, figure in figures.items()
    ]


def png(figure: Figure, command: str = "") -> bytes:
    """A figure as a file of an image, with the command that made it as its description."""
    buffer, about = io.BytesIO(), {"Description": command} if command else {}
    with mpl.rc_context(RULES):
        figure.savefig(buffer, format="png", dpi=DOTS, facecolor=PAPER, metadata={"Software": None, **about})
    return buffer.getvalue()


def _file_name(name: str) -> str:
    return re.sub(r"[^\w.@+-]+", "-", name)


def heat_map(grid: Grid, *, change: bool = False) -> Figure:
    """Shifts by columns, severities averaged, the best of each row in bold; or differences, pale where they may be chance."""
    numbers = [cell for line in grid.lines for cell in line.cells if cell is not None]
    ends = span(numbers)
    heads = [_wrapped(name) for name in grid.columns]
    longest = max(len(part) for head in heads for part in head.split("\n"))
    height, width = 0.26, max(0.6, 0.075 * longest + 0.12)
    tops = _tops(grid.lines)
    with mpl.rc_context(RULES):
        left = 0.07 * max(len(line.name) for line in grid.lines) + 0.3
        top = 0.2 + 0.15 * max(head.count("\n") + 1 for head in heads)
        size = (left + width * len(heads), top + height * (tops[-1] + 1))
        figure = Figure(figsize=size, layout="constrained")
        axes = figure.add_subplot()
        for top, line in zip(tops, grid.lines, strict=True):
            best = max((round(cell.value, 3) for cell in line.cells if cell is not None), default=0)
            for x, cell in enumerate(line.cells):
                if cell is not None:
                    paint = of_change(cell, numbers) if change else of_accuracy(cell, ends)
                    bold = cell.sure if change else round(cell.value, 3) == best and len(grid.columns) > 1
                    _tile(axes, x, top, paint, signed(cell.value) if change else f"{100 * cell.value:.1f}", bold)
        axes.set(xlim=(-0.5, len(grid.columns) - 0.5), ylim=(tops[-1] + 0.5, -0.5))
        axes.set_yticks(tops, [line.name for line in grid.lines])
        axes.set_xticks(range(len(grid.columns)), heads)
        axes.tick_params(length=0, top=True, labeltop=True, bottom=False, labelbottom=False)
        axes.spines[:].set_visible(False)
        axes.grid(visible=False)
    return figure


def _tops(lines: Sequence[Line]) -> list[float]:
    """Where each row is, with a gap between families."""
    tops, top = [], 0.0
    for number, (_, family) in enumerate(groupby(lines, key=lambda line: line.family)):
        top += 0.35 if number else 0
        for _ in family:
            tops.append(top)
            top += 1
    return tops


def _tile(axes: Axes, x: float, y: float, paint: str, text: str, bold: bool) -> None:
    axes.add_patch(Rectangle((x - 0.485, y - 0.46), 0.97, 0.92, color=paint, linewidth=0))
    axes.text(x, y, text, ha="center", va="center_baseline", color=ink_on(paint), weight="bold" if bold else "normal")


def _wrapped(name: str) -> str:
    """A bank's name in a few short lines."""
    return re.sub(r"(?<=.)([@+/]|(?<=\d): )", r"\n\1", short(name)).replace(": ", ":\n")


def trade_off(points: Mapping[str, Sequence[Point]], robust: str) -> Figure:
    """Clean accuracy against accuracy elsewhere: a point per bank with its intervals, a line through mixtures."""
    with mpl.rc_context(RULES):
        figure = Figure(figsize=(WIDTH, 3.6), layout="constrained")
        axes, colors = figure.add_subplot(), cycle(LINES)
        for run, found in points.items():
            by_bank, own = {point.bank: point for point in found}, next(colors)
            for line in curves_of(list(by_bank)):
                ends = [by_bank[bank] for bank in line]
                values = [[100 * p.clean.value for p in ends], [100 * p.robust.value for p in ends]]
                axes.plot(*values, ":", color=own if run else FAINT, linewidth=1.2, zorder=1)
            for number, point in enumerate(found):
                _mark(axes, point, run, own if run or not number else next(colors))
        every = [point for found in points.values() for point in found]
        axes.set(xlabel="accuracy on clean images in %", ylabel=robust)
        axes.set_xlim(*(100 * end for end in limits([point.clean for point in every])))
        axes.set_ylim(*(100 * end for end in limits([point.robust for point in every])))
        figure.legend(loc="outside right upper")
    return figure


def _mark(axes: Axes, point: Point, run: str, color: str) -> None:
    mixed = bool(mixture(point.bank))
    spread = [100 * halves(each) if isfinite(halves(each)) else 0 for each in (point.robust, point.clean)]
    axes.errorbar(
        100 * point.clean.value, 100 * point.robust.value, *spread,
        fmt="o", color=color, markersize=4 if mixed else 6, markerfacecolor=PAPER if mixed else color,
        elinewidth=0.8, capsize=2, label=f"{run}: {short(point.bank)}" if run else short(point.bank),
    )  # fmt: skip


def curves(found: Mapping[str, Sequence[Curve]]) -> Figure:
    """Lines by epoch, an axis each for loss and accuracy."""
    with mpl.rc_context(RULES):
        figure = Figure(figsize=(WIDTH, 2.9), layout="constrained")
        labels: dict[str, Any] = {}
        for place, (title, lines) in enumerate(found.items(), 1):
            axes = figure.add_subplot(1, len(found), place)
            for curve in lines:
                x, y = list(curve.values), list(curve.values.values())
                (line,) = axes.plot(x, y, "-" if curve.test else ":", color=curve.color)
                labels.setdefault(curve.name, line)
            axes.set(xlabel="epoch", ylabel=title)
            axes.xaxis.set_major_locator(MaxNLocator(integer=True))
            if "nats" in title:
                axes.set_ylim(bottom=0)
        figure.legend(labels.values(), labels.keys(), loc="outside lower center", ncols=2)
    return figure


def distances(moved: Mapping[str, Mapping[str, float]], axis: str) -> Figure:
    """How far a bank is from another at each site, in the order of the model; one set of bars or several lines."""
    with mpl.rc_context(RULES):
        figure = Figure(figsize=(WIDTH, 3.0), layout="constrained")
        axes = figure.add_subplot()
        _by_place(axes, moved, bars=len(moved) == 1)
        axes.set(xlabel="site, from input to output", ylabel=axis)
        axes.set_ylim(bottom=0)
        if len(moved) > 1:
            figure.legend(loc="outside upper center", ncols=4)
    return figure


def gradients(lengths: Mapping[str, Mapping[str, float]], cosines: Mapping[str, Mapping[str, float]]) -> Figure:
    """How long the gradient of each branch is in every layer, and how far those of two branches agree."""
    with mpl.rc_context(RULES):
        figure = Figure(figsize=(WIDTH, 3.6), layout="constrained")
        left, right = figure.add_subplot(1, 2, 1), figure.add_subplot(1, 2, 2)
        for axes, found, axis in (
            (left, lengths, "length of the gradient"),
            (right, cosines, "cosine between branches"),
        ):
            _by_place(axes, found)
            axes.set(xlabel="layer, from input to output", ylabel=axis)
            axes.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=2 if len(found) < 6 else 3, fontsize=6)
        left.set_ylim(bottom=0)
        right.axhline(0, color=INK, linewidth=0.8)
    return figure


def _by_place(axes: Axes, found: Mapping[str, Mapping[str, float]], *, bars: bool = False) -> None:
    """A line for each name over the places of a model, in its order; or bars."""
    for (name, places), color in zip(found.items(), cycle(LINES), strict=False):
        if bars:
            axes.bar(list(places), list(places.values()), color=color, width=0.75)
        else:
            axes.plot(list(places), list(places.values()), "o-", color=color, markersize=3, label=name)
    names = list(next(iter(found.values())))
    shown = names[:: -(-len(names) // MANY)]
    axes.set_xticks([names.index(name) for name in shown], shown, rotation=90, fontsize=7)
    axes.set_xlim(-0.6, len(names) - 0.4)
    axes.grid(visible=False, axis="x")
