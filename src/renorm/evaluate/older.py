"""Tables of before they had one number a row: one line a cell, its measures as columns."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

OLDER = "renorm.results/1"
MEASURES = (
    "accuracy",
    "nll",
    "ece",
    "top5",
)  # the last one only for more than five classes, and in no table of the first ones


def from_columns(lines: Sequence[Mapping[str, str]]) -> list[dict[str, str]]:
    """One line for each number of the older lines.

    Example:
        >>> old = dict(bank="weak", shift="fog", severity=3, accuracy=0.5, low=0.4, high=0.6, nll=1, ece=0, images=9, seed=0)
        >>> [(new["measure"], new["value"], new["low"]) for new in from_columns([old])]
        [('accuracy', 0.5, 0.4), ('nll', 1, ''), ('ece', 0, '')]
    """
    return [new for line in lines for new in _numbers(line)]


def _numbers(line: Mapping[str, str]) -> Iterator[dict[str, str]]:
    shared = {name: line[name] for name in ("bank", "shift", "severity", "seed")} | {"count": line["images"]}
    for measure in MEASURES:
        if measure == "top5" and line.get(measure, "") in ("", None):
            continue
        ends = {end: line[end] if measure == "accuracy" else "" for end in ("low", "high")}
        yield {**shared, "measure": measure, "value": line[measure], **ends}
