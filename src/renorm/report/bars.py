"""Distances of sites as bars, for the terminal."""

from collections.abc import Iterable, Mapping
from math import isfinite
from statistics import fmean, median

from rich.table import Table
from rich.text import Text

BAR = "\N{FULL BLOCK}"


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
    table = _empty(title, f"standard deviations of the source{left_out}", width)
    if chance is not None:
        table.add_column("by chance", justify="right", style="dim", no_wrap=True)
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


def _empty(title: str, caption: str, width: int) -> Table:
    """A table in which only long names of sites are broken, never a number."""
    table = Table(title=title, title_style="bold", title_justify="left", box=None)
    table.caption, table.caption_style, table.caption_justify = caption, "dim", "left"
    table.add_column("site", style="cyan", overflow="fold")
    table.add_column("", min_width=width, no_wrap=True)
    table.add_column("distance", justify="right", no_wrap=True)
    return table


def together(values: Iterable[float]) -> float:
    """The distance of all sites from those of each: the root of their mean square."""
    return fmean(value**2 for value in values) ** 0.5


def _expected(chance: float | None) -> list[str]:
    return [] if chance is None else [f"{chance:.3f}" if isfinite(chance) else "unknown"]
