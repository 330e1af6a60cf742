"""Accuracy against the number of images a model was adapted to, as a figure by matplotlib."""

from __future__ import annotations

from itertools import cycle
from math import ceil

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from renorm.evaluate import Curve
from renorm.report.colors import FAINT, LINES
from renorm.report.figures import RULES, caption

COLUMNS, WIDTH = 3, 6.5  # of panels, and of all in inches
HEIGHT = 2.4  # inches of a panel


def figure(found: Curve) -> Figure:
    """A panel for the mean over all shifts, if there are several, and one for each, its severities averaged.

    Bands are Student's 95 % intervals over draws; the source, which sees none of the images, is dashed.
    """
    names = list(dict.fromkeys(shift.name for shift in found.shifts))
    panels = {"": f"mean over {len(names)} shifts"} if len(names) > 1 else {}
    panels |= {name: title(found, name) for name in names}
    columns = 2 if len(panels) == 4 else min(COLUMNS, len(panels))
    lines = ceil(len(panels) / columns)
    with mpl.rc_context(RULES):
        drawn = Figure(figsize=(WIDTH, lines * HEIGHT + 1.2 + 0.6 * (lines == 1)), layout="constrained")
        axes = drawn.subplots(lines, columns, squeeze=False).flatten()
        for place, (name, text) in zip(axes, panels.items(), strict=False):
            _panel(place, found, name)
            place.set_title(text, fontsize=9)
        for place in axes[len(panels) :]:
            place.remove()
        handles, labels = axes[0].get_legend_handles_labels()
        drawn.legend(handles, labels, loc="outside upper center", ncols=min(5, len(labels)))
        drawn.supylabel("accuracy in %", fontsize=9)
        caption(drawn, found.caption)
    return drawn


def title(found: Curve, name: str) -> str:
    """A shift and those of its severities that were evaluated."""
    severities = sorted(shift.severity for shift in found.shifts if shift.name == name)
    text = name.replace("_", " ")
    if not severities[-1]:
        return text
    return f"{text} {severities[0]}" if len(severities) == 1 else f"{text}, mean of {len(severities)} severities"


def _panel(axes: Axes, found: Curve, name: str) -> None:
    sizes = found.plan.sizes
    for (method, how), color in zip(found.plan.methods.items(), cycle(LINES), strict=False):
        cells = [cell.accuracy for cell in found.line(method, name)]
        value, low, high = ([100 * number for number in each] for each in zip(*cells, strict=True))
        if how.is_source:
            axes.plot(sizes, value, "--", color=FAINT, label=method, zorder=1)
            continue
        axes.plot(sizes, value, "o-", color=color, markersize=3, label=method)
        axes.fill_between(sizes, low, high, color=color, alpha=0.15, linewidth=0)
    bottom, top = axes.get_ylim()
    axes.set_ylim(max(bottom, 0), min(top, 100))  # a band of few draws may go beyond
    axes.set_xscale("log", base=2)
    axes.set_xticks(sizes, list(map(str, sizes)))
    axes.minorticks_off()
    axes.set_xlabel("images adapted to")
