"""Figures of searches: a cell as a graph, the weights of its operations by epoch, and how cells are ordered."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import FancyArrowPatch
from matplotlib.ticker import MaxNLocator

from renorm.models import EDGES, OPERATIONS, Cell
from renorm.report.colors import EDGE, FAINT, INK, LINES, PAPER
from renorm.report.figures import MARKS, RULES, WIDTH, curves
from renorm.report.svg import tell
from renorm.report.training import Learned

SHORT = {"none": "none", "skip_connect": "skip", "nor_conv_1x1": "1x1", "nor_conv_3x3": "3x3", "avg_pool_3x3": "pool"}
BENDS = {
    (1, 0): 0.0,
    (2, 1): 0.0,
    (3, 2): 0.0,
    (2, 0): -0.55,
    (3, 1): 0.55,
    (3, 0): -0.7,
}  # of edges, up where negative
NODES = ("in", "1", "2", "out")


def graph(cell: Cell) -> Figure:
    """A cell: its nodes from left to right, and on each edge its operation; edges that give nothing are faint."""
    with mpl.rc_context(RULES):
        figure = Figure(figsize=(WIDTH, 2.6), layout="constrained")
        axes = figure.add_subplot()
        axes.set_axis_off()
        axes.set(xlim=(-0.3, 3.3), ylim=(-0.75, 1.3), aspect="equal")
        for (end, start), operation in zip(EDGES, cell.operations, strict=True):
            _edge(
                axes,
                start,
                end,
                SHORT[operation],
                FAINT if operation == "none" else LINES[OPERATIONS.index(operation) % 8],
            )
        for place, name in enumerate(NODES):
            axes.text(
                place,
                0,
                name,
                ha="center",
                va="center",
                bbox={"boxstyle": "circle", "facecolor": PAPER, "edgecolor": INK},
            )
    return figure


def _edge(axes: Axes, start: int, end: int, name: str, color: str) -> None:
    bend, dashes = BENDS[end, start], ":" if name == "none" else "-"
    arrow = FancyArrowPatch(
        (start, 0),
        (end, 0),
        connectionstyle=f"arc3,rad={bend}",
        arrowstyle="-|>",
        mutation_scale=10,
        shrinkA=13,
        shrinkB=13,
        color=color,
        linestyle=dashes,
    )
    axes.add_patch(arrow)
    axes.text(
        (start + end) / 2, -bend * (end - start) / 2 + 0.08, name, ha="center", va="bottom", fontsize=8, color=color
    )


def weights(found: Mapping[str, Mapping[str, Mapping[int, float]]]) -> Figure:
    """The softmax of each edge by epoch, a panel each: which operation wins, and how early."""
    with mpl.rc_context(RULES):
        figure = Figure(figsize=(2 * WIDTH, 4.6), layout="constrained")
        panels = figure.subplots(2, 3, sharex=True, sharey=True).flatten()
        for axes, (edge, lines) in zip(panels, found.items(), strict=True):
            for (operation, values), color in zip(lines.items(), LINES, strict=False):
                every = -(-len(values) // MARKS)
                (line,) = axes.plot(
                    list(values), list(values.values()), "o-", color=color, markersize=2, markevery=every
                )
                line.set_label(SHORT[operation])
                tell(line, *(f"{edge}, {SHORT[operation]}, epoch {e}: {values[e]:.3f}" for e in list(values)[::every]))
            axes.set_title(edge, fontsize=8.5)
            axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        figure.supxlabel("epoch", fontsize=8.5)
        figure.supylabel("weight of the operation", fontsize=8.5)
        figure.legend(*panels[0].get_legend_handles_labels(), loc="outside upper center", ncols=5)
    return figure


def by_epoch(found: Mapping[str, Mapping[int, float]], axis: str) -> Figure:
    """Lines by epoch; those of training images dotted."""
    named = zip(found.items(), LINES, strict=False)
    lines = [Learned(name, color, values, "training" not in name) for (name, values), color in named]
    return curves(lines, axis)


def orders(
    truth: Sequence[float], found: Mapping[str, Sequence[float]], cells: Sequence[Cell], taus: Mapping[str, str]
) -> Figure:
    """Each cell's accuracy by shared weights against that in the table, a panel for each bank.

    Args:
        truth: In the table, in %.
        found: By shared weights, in %, of each bank.
        cells: Which.
        taus: How well each bank orders them, in words.
    """
    with mpl.rc_context(RULES):
        figure = Figure(figsize=(WIDTH * min(2, len(found)), 3.6), layout="constrained")
        panels = figure.subplots(1, len(found), sharex=True, sharey=True, squeeze=False).flatten()
        for axes, (bank, values) in zip(panels, found.items(), strict=True):
            (dots,) = axes.plot(
                truth, values, "o", color=LINES[0], markersize=3, markeredgecolor=EDGE, markeredgewidth=0.3
            )
            tell(dots, *(f"{c}: {t:.2f} % alone, {v:.1f} % here" for c, t, v in zip(cells, truth, values, strict=True)))
            axes.set_title(f"{bank}: {taus[bank]}", fontsize=8.5)
            axes.set(
                xlabel="accuracy in the table in %",
                ylabel="accuracy by shared weights in %" if axes is panels[0] else "",
            )
    return figure


def by_images(found: Mapping[int, tuple[float, float, float]], trained: float | None) -> Figure:
    """Tau by the number of images that each path is measured on, with its interval; dotted, that of trained statistics."""
    with mpl.rc_context(RULES):
        figure = Figure(figsize=(WIDTH, 3.0), layout="constrained")
        axes = figure.add_subplot()
        numbers = sorted(found)
        values, lows, highs = zip(*(found[number] for number in numbers), strict=True)
        axes.fill_between(numbers, lows, highs, color=LINES[0], alpha=0.15, linewidth=0)
        (line,) = axes.plot(numbers, values, "o-", color=LINES[0], markersize=3)
        tell(line, *(f"{number} images: tau {value:.3f}" for number, value in zip(numbers, values, strict=True)))
        if trained is not None:
            tell(axes.axhline(trained, color=FAINT, linestyle=":"), f"statistics of training: tau {trained:.3f}")
        axes.set_xscale("log", base=2)
        axes.set(xlabel="images that each path is measured on", ylabel="tau")
    return figure
