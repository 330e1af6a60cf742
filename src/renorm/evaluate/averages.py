"""What a bank is worth over several shifts, with intervals over images."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Collection, Sequence
from statistics import fmean

import torch
from torch import Tensor

from renorm import metrics
from renorm.corruptions import SEVERITIES, STANDARD
from renorm.evaluate.protocol import Protocol, label
from renorm.evaluate.results import CellKey, Results, Row
from renorm.metrics import ALEXNET, Interval


def mean_accuracy(results: Results, bank: str, shifts: Collection[str]) -> Interval:
    """Mean accuracy of a bank over all cells of some shifts, in 0..1, with its 95 % interval.

    Images are drawn again for all cells at once, as they share them. A table without hits gives the mean of the cells'
    intervals, an upper bound.

    Args:
        results: A table.
        bank: One of its banks.
        shifts: Names; all severities that the table has are averaged.

    Raises:
        ValueError: If the table has no such cell.
    """
    rows = [row for row in results.only() if row.bank == bank and row.shift in shifts]
    if not rows:
        raise ValueError(
            f"the table has no {bank} under {', '.join(shifts) or 'no shift'}: it has {listed(results.rows)}. "
            "Name some of these."
        )
    if not results.hits:
        return mean_interval(rows)
    return metrics.bootstrap(per_image(results, [row.cell for row in rows]), results.protocol.seed)


def mean_interval(rows: Sequence[Row]) -> Interval:
    """The means of values and of intervals' ends, an upper bound of the interval of the mean value."""
    ends = [
        (row.value, row.value if row.low is None else row.low, row.value if row.high is None else row.high)
        for row in rows
    ]
    return Interval(*map(fmean, zip(*ends, strict=True)))


def mean_corruption_error(results: Results, bank: str, data: str) -> Interval:
    """Mean corruption error of a bank relative to AlexNet's, whose own is 100, with its 95 % interval.

    Args:
        results: A table of all fifteen standard corruptions in five severities.
        bank: One of its banks.
        data: Whose table of AlexNet's errors, as of :func:`renorm.metrics.corruption_error`.

    Raises:
        ValueError: If there is no table of AlexNet, or a cell is missing.
    """
    errors = _errors(results, bank)
    return metrics.bootstrap(metrics.corruption_error(errors, data), results.protocol.seed)


def relative_mean_corruption_error(results: Results, bank: str, data: str) -> Interval:
    """Mean corruption error after each model's error on clean images is subtracted, with its 95 % interval.

    Args:
        results: A table of clean images and all fifteen standard corruptions in five severities.
        bank: One of its banks.
        data: Whose table of AlexNet's errors.

    Raises:
        ValueError: If there is no clean error of AlexNet, or a cell is missing.
    """
    errors = _errors(results, bank, clean=True)
    clean = errors.pop("clean")
    return metrics.bootstrap(metrics.relative_corruption_error(errors, clean, data), results.protocol.seed)


def lacking(results: Results, bank: str, *, clean: bool = False) -> str:
    """What a table lacks of a bank's mean corruption error (a relative one, with clean images); nothing if it has all."""
    cells = [cell for group in _standard(bank, clean).values() for cell in group]
    missing = [label(*cell[1:]) for cell in cells if cell not in results.hits]
    if missing:
        return f"{', '.join(missing[:5])}{', ...' if len(missing) > 5 else ''} missing"
    return "cells of several sets of images" if len(per_image(results, cells)) > 1 else ""


def known_reference(protocol: Protocol) -> str | None:
    """Whose table of AlexNet's errors fits the data, if their name, classes and severities say so."""
    names = [each.name for each in [protocol.data, *protocol.stored.values()] if each]
    plain = re.sub(r"[^a-z0-9]", "", names[0].lower()) if names else ""
    for name in sorted(ALEXNET, key=len, reverse=True):
        reference = ALEXNET[name]
        if name in plain and protocol.classes == reference.classes and protocol.scale in (None, reference.scale):
            return name
    return None


def per_image(results: Results, cells: Sequence[CellKey]) -> list[Tensor]:
    """What each image adds to the mean over cells: one vector for each set of images."""
    groups: defaultdict[tuple[int, str], list[Tensor]] = defaultdict(list)
    for cell in cells:
        images, hits = results.protocol.images_of(*cell[1:]), results.hits[cell]
        groups[len(hits), images.labels if images else ""].append(hits)
    return [torch.stack(group, 1).sum(1, dtype=torch.float64) / len(cells) for group in groups.values()]


def listed(rows: Sequence[Row]) -> str:
    """Banks and shifts of a table, for messages."""
    banks, shifts = (", ".join(dict.fromkeys(getattr(row, name) for row in rows)) for name in ("bank", "shift"))
    return f"banks {banks} under {shifts}"


def _errors(results: Results, bank: str, clean: bool = False) -> dict[str, Tensor]:
    """Mean error of each image under each standard corruption."""
    what = lacking(results, bank, clean=clean)
    if what:
        raise ValueError(
            f"the table has {bank} with {what}: a mean corruption error needs the fifteen standard corruptions in five "
            "severities, a relative one clean images too, all of the same images. Evaluate with --shifts clean standard."
        )
    return {name: 1 - per_image(results, cells)[0] for name, cells in _standard(bank, clean).items()}


def _standard(bank: str, clean: bool) -> dict[str, list[CellKey]]:
    cells: dict[str, list[CellKey]] = {name: [(bank, name, severity) for severity in SEVERITIES] for name in STANDARD}
    return {"clean": [(bank, "clean", 0)]} | cells if clean else cells
