"""What two tables differ by, as a table for the terminal."""

from __future__ import annotations

from collections.abc import Sequence

from rich import box
from rich.table import Table

from renorm.evaluate import Results
from renorm.metrics import Interval
from renorm.report.grid import MEAN, Line, ShiftKey, accuracies, changes, grid


def differences(a: Results, b: Results, banks: tuple[str, str], shifts: Sequence[ShiftKey]) -> Table:
    """What the bank of ``b`` has more than the bank of ``a``: severities averaged, then the means over many shifts."""
    ours, theirs = banks
    columns = {"A": accuracies(a, ours), "B": accuracies(b, theirs), "B - A": changes(a, b, banks)}
    title = f"bank {ours}" if ours == theirs else f"bank {ours} of A, bank {theirs} of B"
    shown = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False)
    shown.add_column("shift", no_wrap=True)
    for name in (*columns, "95 % interval"):
        shown.add_column(name, justify="right")
    lines = grid(columns, shifts).lines
    for line in (line for line in lines if line.family != MEAN):
        shown.add_row(line.title, *_cells(line))
    shown.add_section()
    for line in (line for line in lines if line.family == MEAN):
        shown.add_row(line.title, *_cells(line))
    return shown


def _cells(line: Line) -> tuple[str, str, str, str]:
    """The numbers of a line; coloured where the interval of the difference leaves out 0."""
    ours, theirs, change = line.cells
    assert ours is not None  # differences are of cells that both tables have
    assert theirs is not None
    assert change is not None
    style = _style(change)
    value, low, high = (f"{100 * each:+.1f}" for each in change)
    return _percent(ours), _percent(theirs), f"[{style}]{value}[/]", f"[{style}]{low} to {high}[/]"


def _percent(number: Interval) -> str:
    return f"{100 * number.value:.1f}"


def _style(interval: Interval) -> str:
    """Green for more, red for less, dim for what may be chance."""
    return "bold green" if interval.low > 0 else "bold red" if interval.high < 0 else "dim"
