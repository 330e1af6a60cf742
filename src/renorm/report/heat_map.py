"""The table bank x shift as a figure for a paper."""

from __future__ import annotations

import re
from collections.abc import Sequence

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from renorm.report.figures import RULES, caption
from renorm.report.heat import HeatCell, HeatTable

HEIGHT, GAP = 0.34, 0.3  # of a row in inches, and between families in rows
LETTER = 0.075  # inches


def heat_map(table: HeatTable, title: str = "", note: str = "") -> Figure:
    """Shifts by columns, severities averaged, with the intervals below the numbers.

    Args:
        table: What is shown.
        title: Above it.
        note: Below it in small: how to read it.
    """
    heads = [_wrapped(column.short) for column in table.columns]
    longest = max(len(part) for head in heads for part in head.split("\n"))
    rows, tops = [row for group in table.groups for row in group.rows], _tops([len(g.rows) for g in table.groups])
    below = max((len(cell.below) for row in rows for cell in row.cells if cell), default=0)
    width = max(0.6, LETTER * longest + 0.12, 0.052 * below + 0.1)
    left = LETTER * max(len(row.name) for row in rows) + 0.3
    top = 0.3 + 0.15 * max(head.count("\n") + 1 for head in heads) + 0.2 * bool(title)
    with mpl.rc_context(RULES):
        size = (left + width * len(heads), top + HEIGHT * (tops[-1] + 1) + 0.3 * bool(note))
        figure = Figure(figsize=size, layout="constrained")
        axes = figure.add_subplot()
        for y, row in zip(tops, rows, strict=True):
            for x, cell in enumerate(row.cells):
                if cell is not None:
                    _tile(axes, x, y, cell)
        axes.set(xlim=(-0.5, len(heads) - 0.5), ylim=(tops[-1] + 0.5, -0.5))
        axes.set_yticks(tops, [row.name for row in rows])
        axes.set_xticks(range(len(heads)), heads)
        axes.tick_params(length=0, top=True, labeltop=True, bottom=False, labelbottom=False)
        axes.spines[:].set_visible(False)
        axes.grid(visible=False)
        figure.suptitle(title, fontsize=9.5, x=0.01, ha="left")
        caption(figure, note)
    return figure


def _tops(sizes: Sequence[int]) -> list[float]:
    """Where each row is, with a gap between families."""
    groups = [number for number, size in enumerate(sizes) for _ in range(size)]
    return [place + GAP * number for place, number in enumerate(groups)]


def _tile(axes: Axes, x: float, y: float, cell: HeatCell) -> None:
    axes.add_patch(Rectangle((x - 0.485, y - 0.47), 0.97, 0.94, color=cell.background, linewidth=0))
    weight = "bold" if cell.bold else "normal"
    axes.text(x, y - 0.13, cell.text, ha="center", va="center_baseline", color=cell.ink, weight=weight)
    axes.text(x, y + 0.27, cell.below, ha="center", va="center_baseline", color=cell.ink, fontsize=5.5)


def _wrapped(name: str) -> str:
    """A bank's name in a few short lines, broken after a run's name and before the signs that join banks."""
    return re.sub(r"(?<=[^\n])([@+/])", r"\n\1", name.replace(": ", ":\n"))
