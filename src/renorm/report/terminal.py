"""Tables for the terminal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from rich.console import Group
from rich.text import Text

from renorm.evaluate import Curve, MeasureDifference, Results
from renorm.metrics import Interval
from renorm.report.grid import MEAN, Line, ShiftKey, accuracies, accuracy_grid, changes, grid, halves
from renorm.report.measures import measure_lines, number
from renorm.report.wide import WideTable

CAPTION = "accuracy in %, mean over the severities named, ± half of a 95 % bootstrap interval over {images}"


MEASURES = "± half of a 95 % interval, where there is one"


def results(found: Results, title: str = "") -> Group:
    """A table: bank x shift where it is of accuracies, else bank x measure."""
    what, shown, caption = _shifts(found) if found.only() else _measures(found)
    sizes = sorted({row.count for row in found.rows})
    images = (
        "1 image"
        if sizes == [1]
        else f"{sizes[0]:,} images"
        if len(sizes) == 1
        else f"{sizes[0]:,} to {sizes[-1]:,} images"
    )
    heading = Text(f"{title}: {what}" if title else what, style="bold")
    return Group(heading, shown, Text(caption.format(images=images), style="dim"))


def _shifts(found: Results) -> tuple[str, WideTable, str]:
    """Severities averaged; a bank that leads its row by more than chance is green."""
    shown = accuracy_grid(found)
    rows = [(line.title, _cells(line)) for line in shown.lines if line.family != MEAN]
    return "bank x shift", WideTable("shift", shown.columns, rows), CAPTION


def _measures(found: Results) -> tuple[str, WideTable, str]:
    rows = []
    for line in measure_lines(found):
        numbers = [number(row) for row in line.rows]
        rows.append((line.name, [Text(value).append(f" {half}" * bool(half), style="dim") for value, half in numbers]))
    return "bank x measure", WideTable("measure", found.banks, rows), MEASURES


def _cells(line: Line) -> list[Text]:
    texts = []
    for place, cell in enumerate(line.cells):
        if cell is None:
            texts.append(Text("-", style="dim"))
            continue
        texts.append(_with_half(_scaled(cell), place == line.leader))
    return texts


def overall(found: Mapping[str, Mapping[str, Interval]]) -> WideTable:
    """A few numbers of each bank: a line of each kind, a column per bank."""
    rows = [(title, [_with_half(interval) for interval in intervals.values()]) for title, intervals in found.items()]
    return WideTable("over all", list(next(iter(found.values()))), rows)


def _with_half(interval: Interval, leads: bool = False) -> Text:
    text = Text(f"{interval.value:.1f}", style="bold green" if leads else "")
    return text.append(f" ±{halves(interval):.1f}", style="dim")


def differences(a: Results, b: Results, banks: tuple[str, str], shifts: Sequence[ShiftKey]) -> Group:
    """What the bank of ``b`` has more than the bank of ``a``: severities averaged, then the means over many shifts."""
    ours, theirs = banks
    columns = {"A": accuracies(a, ours), "B": accuracies(b, theirs), "B - A": changes(a, b, banks)}
    title = f"bank {ours}" if ours == theirs else f"bank {ours} of A, bank {theirs} of B"
    lines = sorted(grid(columns, shifts).lines, key=lambda line: line.family == MEAN)
    rows = [(line.title, _compared(line)) for line in lines]
    means = sum(line.family == MEAN for line in lines)
    return Group(Text(title, style="bold"), WideTable("shift", [*columns, "95 % interval"], rows, apart=means))


def measure_differences(found: Sequence[MeasureDifference]) -> Group:
    """What one bank has more than another by each measure."""
    ours, theirs = found[0].banks
    title = f"bank {ours}" if ours == theirs else f"bank {ours} of A, bank {theirs} of B"
    rows = []
    for each in found:
        interval = each.interval
        style = "" if interval is None else "dim" if not interval.sure else "bold"
        ends = "not paired" if interval is None else f"{interval.low:+.3g} to {interval.high:+.3g}"
        values = [Text(f"{value:.4g}") for value in each.values]
        rows.append((each.measure, [*values, Text(f"{each.change:+.3g}", style), Text(ends, style or "dim")]))
    return Group(Text(title, style="bold"), WideTable("measure", ["A", "B", "B - A", "95 % interval"], rows))


def _compared(line: Line) -> list[Text]:
    """The numbers of a line; coloured where the interval of the difference leaves out 0."""
    ours, theirs, change = line.cells
    assert ours is not None  # differences are of cells that both tables have
    assert theirs is not None
    assert change is not None
    style = "dim" if not change.sure else "bold green" if change.value > 0 else "bold red"
    value, low, high = (f"{100 * each:+.1f}" for each in change)
    return [_percent(ours), _percent(theirs), Text(value, style), Text(f"{low} to {high}", style)]


def _percent(number: Interval) -> Text:
    return Text(f"{100 * number.value:.1f}")


def by_images(found: Curve, name: str = "") -> Group:
    """Accuracy of each method by the number of images it was adapted to; green where one leads all others by more than chance.

    Args:
        found: A curve.
        name: Of the shifts that are averaged; of all of them if it is left out.
    """
    leaders = found.leaders(name)
    rows = []
    for method in found.plan.methods:
        cells = zip(found.line(method, name), leaders, strict=True)
        rows.append((method, [_with_half(_scaled(cell.accuracy), method == leader) for cell, leader in cells]))
    caption = f"accuracy in %, ± half of Student's 95 % interval over {found.plan.draws} draws"
    return Group(WideTable("images", [f"{size}" for size in found.plan.sizes], rows), Text(caption, style="dim"))


def _scaled(number: Interval) -> Interval:
    return Interval(*(100 * each for each in number))
