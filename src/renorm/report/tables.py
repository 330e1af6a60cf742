"""Tables for the terminal."""

from collections.abc import Mapping, Sequence

from rich import box
from rich.console import Group
from rich.table import Table
from rich.text import Text

from renorm.evaluate import Row
from renorm.report.summary import banks, mean

BAR = "\N{FULL BLOCK}"
CAPTION = "accuracy in %, mean over the severities named, ± half of a 95 % bootstrap interval over {images:,} images"


def results(rows: Sequence[Row], title: str = "bank x shift") -> Group:
    """The table bank x shift, severities averaged; the best bank of a row is green."""
    names = banks(rows)
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False, padding=(0, 1, 0, 0))
    table.add_column("shift", no_wrap=True)
    for name in names:
        table.add_column(name.replace("+", "\n+").replace("@", "@\n"), justify="right", vertical="bottom")
    for shift in dict.fromkeys(row.shift for row in rows):
        here = [row for row in rows if row.shift == shift]
        table.add_row(_label(here), *_cells(here, names))
    caption = CAPTION.format(images=min(row.images for row in rows))
    return Group(Text(title, style="bold"), table, Text(caption, style="dim"))


def _label(rows: Sequence[Row]) -> str:
    severities = sorted({row.severity for row in rows})
    span = f"{severities[0]}-{severities[-1]}" if len(severities) > 1 else str(severities[0] or "")
    return f"{rows[0].shift.replace('_', ' ')} {span}".strip()


def _cells(rows: Sequence[Row], names: Sequence[str]) -> list[Text]:
    means = {name: mean([row for row in rows if row.bank == name]) for name in names if _has(rows, name)}
    best = max(value for value, _ in means.values())
    cells = []
    for name in names:
        if name not in means:
            cells.append(Text("-", style="dim"))
            continue
        value, half = means[name]
        cell = Text(f"{100 * value:.1f}", style="bold green" if value == best and len(names) > 1 else "")
        cells.append(cell.append(f" ±{100 * half:.1f}", style="dim"))
    return cells


def _has(rows: Sequence[Row], name: str) -> bool:
    return any(row.bank == name for row in rows)


def distances(moved: Mapping[str, float], most: int = 12, width: int = 32) -> Table:
    """How far each site's statistics moved, in standard deviations of the source, as bars; the farthest sites only."""
    shown = sorted(moved, key=lambda name: moved[name], reverse=True)[:most]
    kept = [name for name in moved if name in shown]
    left_out = f"; {len(moved) - len(kept)} nearer sites left out" if len(moved) > len(kept) else ""
    caption = f"standard deviations of the source{left_out}"
    table = Table(title="how far each site moved", box=None, title_style="bold", caption=caption, caption_style="dim")
    table.add_column("site", style="cyan")
    table.add_column("", min_width=width)
    table.add_column("distance", justify="right")
    top = max(moved.values()) or 1.0
    for name in kept:
        table.add_row(name, BAR * max(1, round(width * moved[name] / top)), f"{moved[name]:.3f}")
    return table
