"""Tables of other numbers than accuracies: a line a measure, a column a bank."""

from __future__ import annotations

from typing import NamedTuple

from renorm.evaluate import Results, Row, label


class MeasureLine(NamedTuple):
    """One measure: its number of each bank, None where the table has none."""

    name: str
    rows: tuple[Row | None, ...]


def measure_lines(results: Results) -> list[MeasureLine]:
    """The measures of a table, each with the name of what it was measured on where there are several."""
    there = {(row.cell, row.measure): row for row in results.rows}
    keys = dict.fromkeys((row.shift, row.severity, row.measure) for row in results.rows)
    several = len(results.shifts) > 1
    return [
        MeasureLine(
            f"{label(shift, severity)}: {measure}" if several else measure,
            tuple(there.get(((bank, shift, severity), measure)) for bank in results.banks),
        )
        for shift, severity, measure in keys
    ]


def number(row: Row | None) -> tuple[str, str]:
    """A number, and half of its interval where it has one.

    Example:
        >>> number(Row("running", "generated", 0, "KID", 0.03123, 0.03, 0.034, 400, 0)), number(None)
        (('0.03123', '±0.002'), ('-', ''))
    """
    if row is None:
        return "-", ""
    half = "" if row.low is None or row.high is None else f"±{(row.high - row.low) / 2:.2g}"
    return f"{row.value:.4g}", half
