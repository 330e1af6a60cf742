"""What a table comes to: a few numbers per bank."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich import box
from rich.table import Table

from renorm.cli.console import counted

if TYPE_CHECKING:
    from collections.abc import Mapping

    from renorm.evaluate import Results
    from renorm.metrics import Interval


def overview(results: Results, alexnet: str | None = None) -> dict[str, dict[str, Interval]]:
    """Mean accuracy under corruptions of each bank in %, and its mean corruption error where a table of AlexNet fits.

    Args:
        results: A table.
        alexnet: Whose table; by default the one that fits the data.

    Raises:
        ValueError: If a table of AlexNet was named and the corruptions are not all there.
    """
    from renorm.corruptions import CORRUPTIONS, STANDARD
    from renorm.evaluate import known_reference, lacking, mean_accuracy

    shifts = {row.shift for row in results.rows if row.shift in CORRUPTIONS}
    if not shifts:
        return {}
    complete = not any(lacking(results, bank) for bank in results.banks)
    groups = {f"mean of {counted(len(shifts), 'corruption')}": shifts}
    if complete and len(shifts) > len(STANDARD):
        groups["mean of the 15 standard"] = set(STANDARD)
    found = {
        title: {bank: _percent(mean_accuracy(results, bank, names)) for bank in results.banks}
        for title, names in groups.items()
    }
    reference = alexnet or (known_reference(results.protocol) if complete else None)
    return found | (_errors(results, reference) if reference else {})


def _errors(results: Results, reference: str) -> dict[str, dict[str, Interval]]:
    from renorm.evaluate import lacking, mean_corruption_error, relative_mean_corruption_error
    from renorm.metrics import alexnet

    means = {bank: mean_corruption_error(results, bank, reference) for bank in results.banks}
    found = {f"mCE, {reference} AlexNet 100": means}
    if alexnet(reference).clean is not None and not any(lacking(results, bank, clean=True) for bank in results.banks):
        found["relative mCE"] = {
            bank: relative_mean_corruption_error(results, bank, reference) for bank in results.banks
        }
    return found


def _percent(interval: Interval) -> Interval:
    return type(interval)(*(100 * value for value in interval))


def drawn(found: Mapping[str, Mapping[str, Interval]]) -> Table:
    """The numbers as a table, a line each and a column per bank."""
    banks = list(next(iter(found.values())))
    shown = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False, padding=(0, 1, 0, 0))
    shown.add_column("over all", no_wrap=True)
    for name in banks:
        heading = name.replace("+", "\n+").replace("@", "@\n")
        shown.add_column(heading, justify="right", vertical="bottom", overflow="fold")
    for title, intervals in found.items():
        shown.add_row(title, *map(_shown, intervals.values()))
    return shown


def _shown(interval: Interval) -> str:
    half = (interval.high - interval.low) / 2
    return f"{interval.value:.1f} [dim]±{half:.1f}[/]"
