"""Tables for the terminal."""

from collections.abc import Iterable, Mapping
from math import isfinite
from statistics import fmean, median

from rich import box
from rich.console import Group
from rich.table import Table
from rich.text import Text

from renorm.evaluate import Curve, Results
from renorm.metrics import Interval
from renorm.report.grid import MEAN, Line, accuracy_grid, halves
from renorm.report.wide import WideTable

BAR = "\N{FULL BLOCK}"
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


def distances(
    moved: Mapping[str, float],
    chance: Mapping[str, float] | None = None,
    *,
    title: str = "how far each site moved",
    most: int = 12,
    width: int = 32,
) -> Table:
    """Distances of sites in standard deviations of the source, as bars; of many sites the farthest, and all together.

    Args:
        moved: Of each site, in the order of the model.
        chance: What chance alone would give, if that is known; sites within it are pale.
        title: What the distances are.
        most: Sites that have a line of their own.
        width: Of the longest bar, in letters.
    """
    shown = sorted(moved, key=lambda name: moved[name], reverse=True)[:most]
    kept = [name for name in moved if name in shown]
    rest = [value for name, value in moved.items() if name not in shown]
    left_out = f"; {len(rest)} nearer sites left out, their median is {median(rest):.3f}" if rest else ""
    caption = f"standard deviations of the source{left_out}"
    table = Table(title=title, box=None, title_style="bold", caption=caption, caption_style="dim")
    table.add_column("site", style="cyan")
    table.add_column("", min_width=width)
    table.add_column("distance", justify="right")
    if chance is not None:
        table.add_column("by chance", justify="right", style="dim")
    top = max(moved.values()) or 1.0
    for name in kept:
        expected = None if chance is None else chance[name]
        bar = Text(BAR * max(1, round(width * moved[name] / top)))
        bar.stylize("dim" if expected is not None and moved[name] <= expected else "")
        table.add_row(name, bar, f"{moved[name]:.3f}", *_expected(expected))
    overall = None if chance is None else together(chance.values())
    name = f"all {len(moved)} sites" if len(moved) > 1 else "all in all"
    table.add_row(name, "root mean square", f"{together(moved.values()):.3f}", *_expected(overall), style="bold")
    return table


def together(values: Iterable[float]) -> float:
    """The distance of all sites from those of each: the root of their mean square."""
    return fmean(value**2 for value in values) ** 0.5


def _expected(chance: float | None) -> list[str]:
    return [] if chance is None else [f"{chance:.3f}" if isfinite(chance) else "unknown"]


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
