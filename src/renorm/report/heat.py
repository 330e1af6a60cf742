"""The table bank x shift as texts on coloured ground, from which pages and pictures are drawn alike."""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import groupby
from math import isfinite
from pathlib import Path

from renorm.metrics import Interval
from renorm.report.colors import ink_on, of_accuracy, of_change, span
from renorm.report.grid import MEAN, Grid, Line, halves

Shown = Callable[[Interval, bool], "HeatCell"]


@dataclass(frozen=True)
class HeatCell:
    """A number.

    Args:
        text: The number.
        below: In small below it: how sure it is.
        title: Both in words, shown when the cell is pointed at.
        background: Its colour.
        bold: Whether it is a lead, or a difference, that is no chance.
    """

    text: str
    below: str
    title: str
    background: str
    bold: bool

    @property
    def ink(self) -> str:
        """The colour of its text."""
        return ink_on(self.background)


@dataclass(frozen=True)
class HeatColumn:
    """The head of a column: a bank."""

    name: str

    @property
    def short(self) -> str:
        """As there is room for it."""
        return short(self.name)


@dataclass(frozen=True)
class HeatRow:
    """A shift, which opens into its severities."""

    name: str
    cells: tuple[HeatCell | None, ...]
    parts: tuple["HeatRow", ...] = ()


@dataclass(frozen=True)
class HeatGroup:
    """Shifts of one family; of means, which have no heading."""

    heading: str
    rows: tuple[HeatRow, ...]
    mean: bool = False


@dataclass(frozen=True)
class HeatTable:
    """Shifts by banks."""

    columns: tuple[HeatColumn, ...]
    groups: tuple[HeatGroup, ...]

    @property
    def opens(self) -> bool:
        """Whether any row has severities to show."""
        return any(row.parts for group in self.groups for row in group.rows)


def of_accuracies(grid: Grid) -> HeatTable:
    """Accuracies in %, those in bold that lead their row by more than chance."""
    ends = span(grid.numbers())

    def show(number: Interval, leads: bool) -> HeatCell:
        text, half = f"{100 * number.value:.1f}", halves(number)
        below = f"±{100 * half:.1f}" if isfinite(half) else "one run"
        title = _title(text, number, "ahead of all others by more than chance" if leads else "")
        return HeatCell(text, below, title, of_accuracy(number, ends), leads)

    return _table(grid, show)


def of_changes(grid: Grid) -> HeatTable:
    """Differences in points with their intervals, pale where the interval holds 0 and bold where not."""
    numbers = grid.numbers()

    def show(number: Interval, leads: bool) -> HeatCell:
        text, below = signed(number.value), f"{signed(number.low)} to {signed(number.high)}"
        title = _title(text, number, "" if number.sure else "may be chance")
        return HeatCell(text, below, title, of_change(number, numbers), number.sure)

    return _table(grid, show)


def signed(value: float) -> str:
    """A difference of shares in points, with its sign."""
    return f"{100 * value:+.1f}".replace("-", "\N{MINUS SIGN}")


def _title(text: str, number: Interval, remark: str) -> str:
    interval = f"{text}, 95 % interval {100 * number.low:.1f} to {100 * number.high:.1f}".replace("-", "\N{MINUS SIGN}")
    return f"{interval}; {remark}" if remark else interval


def _table(grid: Grid, show: Shown) -> HeatTable:
    groups = []
    for family, lines in groupby(grid.lines, key=lambda line: line.family):
        heading = "" if family == MEAN else family
        groups.append(HeatGroup(heading, tuple(_row(line, show) for line in lines), mean=family == MEAN))
    return HeatTable(tuple(map(HeatColumn, grid.columns)), tuple(groups))


def _row(line: Line, show: Shown) -> HeatRow:
    cells = [None if cell is None else show(cell, place == line.leader) for place, cell in enumerate(line.cells)]
    return HeatRow(line.name, tuple(cells), tuple(_row(part, show) for part in line.parts))


def short(name: str) -> str:
    """A bank's name as pictures have room for it: of a file, perhaps after the run's name, without its folder.

    Example:
        >>> short("weak"), short("split: banks/camera.safetensors")
        ('weak', 'split: camera')
    """
    run, colon, bank = name.rpartition(": ")
    return f"{run}{colon}{Path(bank).stem}" if name.endswith(".safetensors") else name
