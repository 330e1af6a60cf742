"""Tables for the terminal."""

from collections.abc import Mapping

from rich import box
from rich.console import Group
from rich.table import Table
from rich.text import Text

from renorm.evaluate import Results
from renorm.report.grid import MEAN, Line, accuracies, banks_of, grid, halves, shifts_of

BAR = "\N{FULL BLOCK}"
CAPTION = "accuracy in %, mean over the severities named, ± half of a 95 % bootstrap interval over {images:,} images"


def results(found: Results, title: str = "bank x shift") -> Group:
    """The table bank x shift, severities averaged; the best bank of a row is green."""
    names = banks_of(found)
    shown = grid({name: accuracies(found, name) for name in names}, shifts_of(found))
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False, padding=(0, 1, 0, 0))
    table.add_column("shift", no_wrap=True)
    for name in names:
        header = name.replace("+", "\n+").replace("@", "@\n")
        table.add_column(header, justify="right", vertical="bottom", overflow="fold")
    for line in (line for line in shown.lines if line.family != MEAN):
        severities = [part.name for part in line.parts]
        span = f" {severities[0]}-{severities[-1]}" if severities else ""
        table.add_row(line.name + span, *_cells(line))
    caption = CAPTION.format(images=min(row.images for row in found.rows))
    return Group(Text(title, style="bold"), table, Text(caption, style="dim"))


def _cells(line: Line) -> list[Text]:
    best = max((cell.value for cell in line.cells if cell is not None), default=None)
    texts = []
    for cell in line.cells:
        if cell is None:
            texts.append(Text("-", style="dim"))
            continue
        text = Text(f"{100 * cell.value:.1f}", style="bold green" if cell.value == best and len(line.cells) > 1 else "")
        texts.append(text.append(f" ±{100 * halves(cell):.1f}", style="dim"))
    return texts


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
