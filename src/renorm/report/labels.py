"""Names beside the points of a figure, where they touch neither each other nor a point."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from math import hypot

from matplotlib.axes import Axes
from matplotlib.transforms import Bbox

from renorm.report.colors import EDGE

SIZE = 7.5
RADII = (7, 13, 21, 31, 43)  # points from the mark; a name farther than the first has a line to its mark
SIDES = ((1, 1), (1, -1), (-1, 1), (-1, -1), (1, 0), (-1, 0), (0, 1), (0, -1))  # bars of intervals are on the last four
GAP = 3  # pixels between names
MARK = 4.5  # points that a mark takes to each side


def label(axes: Axes, points: Sequence[tuple[float, float, str]]) -> None:
    """Write a name beside each point: the nearest place that is free, else the least crowded one."""
    figure = axes.get_figure(root=True)
    assert figure is not None
    figure.draw_without_rendering()
    unit = figure.dpi / 72  # pixels of a point
    centres = [_pixels(axes, x, y) for x, y, _ in points]
    taken = [_around(x, y, MARK * unit) for x, y in centres]
    frame = axes.get_window_extent()
    for (x, y, name), centre in zip(points, centres, strict=True):
        size = _size(axes, name)
        places = list(_places(centre, size, unit))
        costs = [_cost(box, taken, frame) for box, _, _ in places]
        box, offset, far = places[costs.index(min(costs))]
        taken.append(box)
        line = {"arrowstyle": "-", "color": EDGE, "linewidth": 0.6, "shrinkA": 0, "shrinkB": 3} if far else None
        axes.annotate(
            name, (x, y), xytext=offset, textcoords="offset points", ha="center", va="center", fontsize=SIZE,
            arrowprops=line, annotation_clip=False,
        ).set_in_layout(False)  # fmt: skip


def _pixels(axes: Axes, x: float, y: float) -> tuple[float, float]:
    column, line = axes.transData.transform((x, y))
    return float(column), float(line)


def _size(axes: Axes, name: str) -> tuple[float, float]:
    text = axes.text(0, 0, name, fontsize=SIZE)
    box = text.get_window_extent()
    text.remove()
    return box.width + GAP, box.height + GAP


def _places(
    centre: tuple[float, float], size: tuple[float, float], unit: float
) -> Iterator[tuple[Bbox, tuple[float, float], bool]]:
    """Where a name may stand, from near to far: its box, its offset in points, and whether a line leads to it."""
    width, height = size
    for radius in RADII:
        for across, up in SIDES:
            away = radius * unit / hypot(across, up)
            dx, dy = across * (away + width / 2), up * (away + height / 2)
            x, y = centre[0] + dx, centre[1] + dy
            box = Bbox.from_extents(x - width / 2, y - height / 2, x + width / 2, y + height / 2)
            yield box, (dx / unit, dy / unit), radius > RADII[0]


def _cost(box: Bbox, taken: Sequence[Bbox], frame: Bbox) -> float:
    """The area that a box shares with others or has outside the frame."""
    shared = [Bbox.intersection(box, other) for other in (*taken, frame)]
    areas = [0.0 if each is None else each.width * each.height for each in shared]
    return sum(areas[:-1]) + box.width * box.height - areas[-1]


def _around(x: float, y: float, half: float) -> Bbox:
    return Bbox.from_extents(x - half, y - half, x + half, y + half)
