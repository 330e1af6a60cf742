"""What a table comes to: a few numbers per bank."""

from __future__ import annotations

from collections.abc import Sequence

from renorm.corruptions import CORRUPTIONS, SEVERITIES, STANDARD
from renorm.evaluate.averages import (
    known_reference,
    lacking,
    mean_accuracy,
    mean_corruption_error,
    relative_mean_corruption_error,
)
from renorm.evaluate.results import Results
from renorm.metrics import Interval, alexnet
from renorm.shifts import Shift


def overview(results: Results, reference: str | None = None) -> dict[str, dict[str, Interval]]:
    """Mean accuracy under corruptions of each bank in %, and its mean corruption error where a table of AlexNet fits.

    Args:
        results: A table.
        reference: Whose errors of AlexNet; by default those that fit the data.

    Raises:
        ValueError: If errors of AlexNet were named and the corruptions are not all there.
    """
    shifts = {row.shift for row in results.rows if row.shift in CORRUPTIONS}
    if not shifts:
        return {}
    complete = not any(lacking(results, bank) for bank in results.banks)
    groups = {f"mean of {len(shifts)} corruption{'s' * (len(shifts) > 1)}": shifts}
    if complete and len(shifts) > len(STANDARD):
        groups["mean of the 15 standard"] = set(STANDARD)
    found = {
        title: {bank: _percent(mean_accuracy(results, bank, names)) for bank in results.banks}
        for title, names in groups.items()
    }
    reference = reference or (known_reference(results.protocol) if complete else None)
    return found | (_errors(results, reference) if reference else {})


def check_standard(chosen: Sequence[Shift]) -> None:
    """Refuse a mean corruption error of some of the corruptions.

    Raises:
        ValueError: If one of the fifteen in five severities is not among the shifts.
    """
    there = {shift.label for shift in chosen}
    missing = [label for name in STANDARD for n in SEVERITIES if (label := f"{name} {n}") not in there]
    if missing:
        raise ValueError(
            f"{', '.join(missing[:3])}{', ...' if len(missing) > 3 else ''} are not among the shifts: a mean corruption error "
            "needs the fifteen standard corruptions in five severities. Add --shifts standard, or leave --alexnet out."
        )


def _errors(results: Results, reference: str) -> dict[str, dict[str, Interval]]:
    means = {bank: mean_corruption_error(results, bank, reference) for bank in results.banks}
    found = {f"mCE, {reference} AlexNet 100": means}
    if alexnet(reference).clean is not None and not any(lacking(results, bank, clean=True) for bank in results.banks):
        found["relative mCE"] = {
            bank: relative_mean_corruption_error(results, bank, reference) for bank in results.banks
        }
    return found


def _percent(interval: Interval) -> Interval:
    return Interval(*(100 * value for value in interval))
