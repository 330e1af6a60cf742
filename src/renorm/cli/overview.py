"""What a table comes to: a few numbers per bank."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich import box
from rich.table import Table

if TYPE_CHECKING:
    from renorm.evaluate import Results
    from renorm.metrics import Interval


def overview(results: Results, alexnet: str | None = None) -> Table | None:
    """Mean accuracy under corruptions of each bank, and its mean corruption error where a table of AlexNet fits.

    Args:
        results: A table.
        alexnet: Whose table; by default the one that fits the data.

    Raises:
        ValueError: If a table of AlexNet was named and the corruptions are not all there.
    """
    from renorm.corruptions import CORRUPTIONS, STANDARD
    from renorm.evaluate import known_reference, lacking, mean_accuracy, mean_corruption_error

    shifts = {row.shift for row in results.rows if row.shift in CORRUPTIONS}
    if not shifts:
        return None
    complete = not any(lacking(results, bank) for bank in results.banks)
    reference = alexnet or (known_reference(results.protocol) if complete else None)
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False, padding=(0, 1, 0, 0))
    table.add_column("over all", no_wrap=True)
    for name in results.banks:
        table.add_column(name.replace("+", "\n+").replace("@", "@\n"), justify="right", vertical="bottom")
    groups = {f"mean of {len(shifts)} corruptions": shifts}
    if complete and len(shifts) > len(STANDARD):
        groups["mean of the 15 standard"] = set(STANDARD)
    for title, names in groups.items():
        table.add_row(title, *(_shown(mean_accuracy(results, bank, names), 100) for bank in results.banks))
    if reference:
        found = [mean_corruption_error(results, bank, reference) for bank in results.banks]
        table.add_row(f"mCE, {reference} AlexNet 100", *(_shown(each, 1) for each in found))
        _add_relative(table, results, reference)
    return table


def _add_relative(table: Table, results: Results, reference: str) -> None:
    from renorm.evaluate import lacking, relative_mean_corruption_error
    from renorm.metrics import alexnet

    if alexnet(reference).clean is not None and not any(lacking(results, bank, clean=True) for bank in results.banks):
        found = [relative_mean_corruption_error(results, bank, reference) for bank in results.banks]
        table.add_row("relative mCE", *(_shown(each, 1) for each in found))


def _shown(interval: Interval, factor: float) -> str:
    half = (interval.high - interval.low) / 2
    return f"{factor * interval.value:.1f} [dim]±{factor * half:.1f}[/]"
