"""What two tables bank x measure differ by; of measures that are means over images with intervals over them."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from renorm import metrics
from renorm.evaluate.averages import listed
from renorm.evaluate.compare import check_alike
from renorm.evaluate.results import Results, Row
from renorm.metrics import Interval


@dataclass(frozen=True)
class MeasureDifference:
    """What the second table has more than the first of one measure.

    Args:
        banks: Of each table.
        measure: What was measured.
        values: In each table.
        interval: The difference with its paired 95 % interval over images; None of numbers that are no means over images.
    """

    banks: tuple[str, str]
    measure: str
    values: tuple[float, float]
    interval: Interval | None

    @property
    def change(self) -> float:
        """The difference."""
        return self.values[1] - self.values[0]


def measure_differences(
    a: Results, b: Results, banks: tuple[str, str] | None = None, ignore: Collection[str] = ()
) -> list[MeasureDifference]:
    """Differences ``b - a`` of all measures that both tables have.

    Args:
        a: One table.
        b: Another, on the same images.
        banks: The bank of each to compare; by default all of the same name.
        ignore: As of :func:`renorm.evaluate.differences`.

    Raises:
        ValueError: If the tables are unlike, naming the field; if they have no measure in common.
    """
    names = [banks] if banks else [(bank, bank) for bank in a.banks if bank in b.banks]
    theirs = {(row.bank, row.shift, row.severity, row.measure): row for row in b.rows}
    pairs = [
        (row, theirs[key])
        for one, other in names
        for row in a.rows
        if row.bank == one and (key := (other, row.shift, row.severity, row.measure)) in theirs
    ]
    if not pairs:
        raise ValueError(
            f"the tables have no measure in common: one has {_listed(a)}; the other {_listed(b)}. Evaluate both by the same "
            "measures, and name the banks to compare with --banks."
        )
    for ours, other in pairs:
        check_alike(a.protocol, b.protocol, (ours.shift, ours.severity), ignore)
        if ours.count != other.count:
            raise ValueError(
                f"{ours.measure} is over {ours.count:,} in one table and {other.count:,} in the other: numbers compare only "
                "where it is the same. Evaluate both with the same --num-images."
            )
    return [_difference(a, b, *pair) for pair in pairs]


def _difference(a: Results, b: Results, ours: Row, theirs: Row) -> MeasureDifference:
    x, y = a.values.get(ours.measure, {}).get(ours.cell), b.values.get(theirs.measure, {}).get(theirs.cell)
    paired = None if x is None or y is None else metrics.bootstrap([y.double() - x.double()], a.protocol.seed)
    return MeasureDifference((ours.bank, theirs.bank), ours.measure, (ours.value, theirs.value), paired)


def _listed(results: Results) -> str:
    return f"{listed(results.rows)} by {', '.join(dict.fromkeys(row.measure for row in results.rows))}"
