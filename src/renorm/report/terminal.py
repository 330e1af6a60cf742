"""Tables for the terminal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from rich import box
from rich.console import Group
from rich.table import Table
from rich.text import Text

from renorm.evaluate import Curve, Results
from renorm.metrics import Interval
from renorm.report.grid import MEAN, Line, ShiftKey, accuracies, accuracy_grid, changes, grid, halves
from renorm.report.wide import WideTable

CAPTION = "accuracy in %, mean over the severities named, ± half of a 95 % bootstrap interval over {images}"


def results(found: Results, title: str = "bank x shift") -> Group:
    """The table bank x shift, severities averaged; a bank that leads its row by more than chance is green."""
    shown = accuracy_grid(found)
    rows = [(_named(line), _cells(line)) for line in shown.lines if line.family != MEAN]
    table = WideTable("shift", shown.columns, rows)
    sizes = sorted({row.count for row in found.rows})
    images = (
        "1 image"
        if sizes == [1]
        else f"{sizes[0]:,} images"
        if len(sizes) == 1
        else f"{sizes[0]:,} to {sizes[-1]:,} images"
    )
    caption = CAPTION.format(images=images)
    return Group(Text(title, style="bold"), table, Text(caption, style="dim"))


def _named(line: Line) -> str:
    severities = [part.name for part in line.parts]
    return f"{line.name} {severities[0]}-{severities[-1]}" if severities else line.name


def _cells(line: Line) -> list[Text]:
    texts = []
    for place, cell in enumerate(line.cells):
        if cell is None:
            texts.append(Text("-", style="dim"))
            continue
        text = Text(f"{100 * cell.value:.1f}", style="bold green" if place == line.leader else "")
        texts.append(text.append(f" ±{100 * halves(cell):.1f}", style="dim"))
    return texts


def overall(found: Mapping[str, Mapping[str, Interval]]) -> WideTable:
    """A few numbers of each bank: a line of each kind, a column per bank."""
    rows = [(title, [_with_half(interval) for interval in intervals.values()]) for title, intervals in found.items()]
    return WideTable("over all", list(next(iter(found.values()))), rows)


def _with_half(interval: Interval) -> Text:
    return Text(f"{interval.value:.1f}").append(f" ±{halves(interval):.1f}", style="dim")


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
        shown.add_row(line.title, *_compared(line))
    shown.add_section()
    for line in (line for line in lines if line.family == MEAN):
        shown.add_row(line.title, *_compared(line))
    return shown


def _compared(line: Line) -> tuple[str, str, str, str]:
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


def by_images(found: Curve, name: str = "") -> Table:
    """Accuracy of each method by the number of images it was adapted to; the best of a number is green.

    Args:
        found: A curve.
        name: Of the shifts that are averaged; of all of them if it is left out.
    """
    lines = {method: [100 * cell.accuracy.value for cell in found.line(method, name)] for method in found.plan.methods}
    halves_of = {method: [100 * halves(cell.accuracy) for cell in found.line(method, name)] for method in lines}
    caption = f"accuracy in %, ± half of Student's 95 % interval over {found.plan.draws} draws"
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False, padding=(0, 1, 0, 0), caption=caption)
    table.caption_style = "dim"
    table.add_column("images", no_wrap=True)
    for size in found.plan.sizes:
        table.add_column(str(size), justify="right")
    best = [max(column) for column in zip(*lines.values(), strict=True)]
    for method, values in lines.items():
        cells = zip(values, halves_of[method], best, strict=True)
        table.add_row(method, *(_number(value, half, value == top) for value, half, top in cells))
    return table


def _number(value: float, half: float, best: bool) -> Text:
    return Text(f"{value:.1f}", style="bold green" if best else "").append(f" ±{half:.1f}", style="dim")
