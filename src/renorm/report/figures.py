"""Figures by matplotlib, the same on a page and in a paper: heat maps, the trade-off, trainings, places of a model."""

from __future__ import annotations

import io
import re
import textwrap
from collections.abc import Mapping, Sequence
from itertools import cycle
from math import isfinite
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from renorm.files import write_atomically
from renorm.report.colors import EDGE, FAINT, INK, LINE, LINES, PAPER
from renorm.report.grid import curves_of, halves, mixture
from renorm.report.heat import short
from renorm.report.labels import label
from renorm.report.summary import Point, limits
from renorm.report.svg import tell
from renorm.report.training import Learned

RULES: Any = {
    "font.family": "sans-serif",
    "font.size": 8.5,
    "text.color": INK,
    "axes.facecolor": "none",
    "axes.labelcolor": INK,
    "axes.edgecolor": EDGE,
    "axes.linewidth": 0.8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": LINE,
    "grid.linewidth": 0.6,
    "xtick.color": INK,
    "ytick.color": INK,
    "xtick.labelsize": 8,
    "ytick.labelsize": 8,
    "legend.frameon": False,
    "legend.fontsize": 8,
    "lines.linewidth": 1.5,
}
DOTS = 200  # per inch of a picture for a paper
WIDTH, HALF = 5.0, 3.8  # inches: over the text of a page, and of two side by side
MANY = 40  # places of a model whose names have room
MARKS = 60  # of a line, at most
SHAPES = ("o", "s", "^", "D", "v", "P", "X", "<", ">", "p")  # of the marks of banks
LONG = 28  # letters of a name that has a line of a legend for itself


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


def caption(figure: Figure, text: str) -> None:
    """Say in small below a figure how to read it."""
    letters = int(18 * figure.get_figwidth())
    figure.supxlabel(textwrap.fill(text, letters), fontsize=6, color=FAINT, x=0.01, ha="left")


def trade_off(points: Mapping[str, Sequence[Point]], robust: str) -> Figure:
    """Clean accuracy against accuracy elsewhere: a point per bank with its name and intervals, a line through mixtures.

    A bank has the same shape in all runs, and a run one colour; of a single run each bank has a colour of its own.

    Args:
        points: Of each run; a single one has the name "".
        robust: Title of the vertical axis.
    """
    every = [point for found in points.values() for point in found]
    with mpl.rc_context(RULES):
        figure = Figure(figsize=(WIDTH, 3.6), layout="constrained")
        axes, colors = figure.add_subplot(), cycle(LINES)
        axes.set(xlabel="accuracy on clean images in %", ylabel=robust)
        axes.set_xlim(*(100 * end for end in limits([point.clean for point in every])))
        axes.set_ylim(*(100 * end for end in limits([point.robust for point in every])))
        painted: dict[str, str] = {}
        shapes = dict(zip(dict.fromkeys(point.bank for point in every), cycle(SHAPES), strict=False))
        for run, found in points.items():
            painted[run] = next(colors)
            _mixtures(axes, found, painted[run] if run else FAINT)
            for number, point in enumerate(found):
                _mark(axes, point, run, painted[run] if run or not number else next(colors), shapes[point.bank])
        if len(points) > 1:
            dots = [Line2D([], [], marker="o", linestyle="", color=color) for color in painted.values()]
            marks = [
                Line2D([], [], marker=shape, linestyle="", color=INK, **_face(b, INK)) for b, shape in shapes.items()
            ]
            figure.legend(dots, list(painted), loc="outside upper left", ncols=4)
            figure.legend(marks, list(map(short, shapes)), loc="outside lower left", ncols=4, fontsize=7)
        label(axes, [(100 * p.clean.value, 100 * p.robust.value, short(p.bank)) for p in every])
    return figure


def _mixtures(axes: Axes, found: Sequence[Point], color: str) -> None:
    by_bank = {point.bank: point for point in found}
    for line in curves_of(list(by_bank)):
        ends = [by_bank[bank] for bank in line]
        values = [[100 * p.clean.value for p in ends], [100 * p.robust.value for p in ends]]
        axes.plot(*values, ":", color=color, linewidth=1.2, zorder=1)


def _face(bank: str, color: str) -> dict[str, Any]:
    """Mixtures are small and open."""
    return {"markersize": 4, "markerfacecolor": PAPER} if mixture(bank) else {"markersize": 6, "markerfacecolor": color}


def _mark(axes: Axes, point: Point, run: str, color: str, shape: str) -> None:
    spread = [100 * halves(each) if isfinite(halves(each)) else 0 for each in (point.robust, point.clean)]
    x, y = 100 * point.clean.value, 100 * point.robust.value
    marker, _, bars = axes.errorbar(
        x, y, *spread, fmt=shape, color=color, elinewidth=0.8, capsize=2, **_face(point.bank, color)
    )  # fmt: skip
    for bar in bars:
        bar.set_alpha(0.5)  # names may stand on them
    name = f"{run}: {point.bank}" if run else point.bank
    tell(marker, f"{name}: clean {x:.1f} % ± {spread[1]:.1f}, elsewhere {y:.1f} % ± {spread[0]:.1f}")


def curves(found: Sequence[Learned], axis: str) -> Figure:
    """Lines by epoch; of training views dotted, of test images whole."""
    with mpl.rc_context(RULES):
        figure = Figure(figsize=(HALF, 3.2), layout="constrained")
        axes = figure.add_subplot()
        for curve in found:
            _curve(axes, curve, "nats" in axis)
        axes.set(xlabel="epoch", ylabel=axis)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        if "nats" in axis:
            axes.set_ylim(bottom=0)
        wide = len(found) < 3 or max(len(curve.name) for curve in found) > LONG
        figure.legend(loc="outside lower left", ncols=1 if wide else 2, fontsize=7)
    return figure


def _curve(axes: Axes, curve: Learned, is_loss: bool) -> None:
    epochs, every = list(curve.values), -(-len(curve.values) // MARKS)
    options: dict[str, Any] = {"marker": "o", "markersize": 3 if curve.test else 1.5, "markevery": every}
    (line,) = axes.plot(
        epochs, list(curve.values.values()), "-" if curve.test else ":", color=curve.color, label=curve.name, **options
    )
    texts = {e: f"{v:.3f}" if is_loss else f"{v:.1f} %" for e, v in curve.values.items()}
    tell(line, *(f"{curve.name}, epoch {epoch}: {texts[epoch]}" for epoch in epochs[::every]))


def distances(moved: Mapping[str, Mapping[str, float]], axis: str) -> Figure:
    """How far a bank is from another at each site, in the order of the model; one set of bars or several lines.

    Args:
        moved: Distances by site, of each line by its name.
        axis: Title of the vertical axis.
    """
    figure = by_place(moved, axis, "site, from input to output", width=WIDTH, bars=len(moved) == 1)
    figure.axes[0].set_ylim(bottom=0)
    return figure


def by_place(
    found: Mapping[str, Mapping[str, float]], axis: str, places: str, *, width: float = HALF, bars: bool = False
) -> Figure:
    """A line for each name over the places of a model, in its order; or bars."""
    with mpl.rc_context(RULES):
        figure = Figure(figsize=(width, 3.2), layout="constrained")
        axes = figure.add_subplot()
        for (name, values), color in zip(found.items(), cycle(LINES), strict=False):
            (_bars if bars else _line)(axes, name, values, color)
        names = list(next(iter(found.values())))
        shown = names[:: -(-len(names) // MANY)]
        axes.set_xticks([names.index(name) for name in shown], shown, rotation=90, fontsize=7)
        axes.set_xlim(-0.6, len(names) - 0.4)
        axes.grid(visible=False, axis="x")
        axes.set(xlabel=places, ylabel=axis)
        if not bars:
            figure.legend(loc="outside upper left", ncols=2, fontsize=7)
    return figure


def _bars(axes: Axes, name: str, values: Mapping[str, float], color: str) -> None:
    bars = axes.bar(list(values), list(values.values()), color=color, width=0.75, label=name)
    for bar, (place, value) in zip(bars, values.items(), strict=True):
        tell(bar, f"{place}: {value:.3f}")


def _line(axes: Axes, name: str, values: Mapping[str, float], color: str) -> None:
    (line,) = axes.plot(list(values), list(values.values()), "o-", color=color, markersize=3, label=name)
    tell(line, *(f"{name}, {place}: {value:.3f}" for place, value in values.items()))
