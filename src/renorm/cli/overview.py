"""What a table comes to: a few numbers per bank."""

from __future__ import annotations

from typing import TYPE_CHECKING

from renorm.cli.console import counted

if TYPE_CHECKING:
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
