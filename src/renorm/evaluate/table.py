"""Evaluating every bank under every shift."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial

import torch
import torch.distributed as dist
from torch import Tensor

from renorm import metrics
from renorm.banks import Choice
from renorm.data import Images
from renorm.evaluate import ranks
from renorm.evaluate.banks import Adapted
from renorm.evaluate.partial import PartialTable, TablePart
from renorm.evaluate.protocol import ImageSet, Protocol, describe, label
from renorm.evaluate.results import Cell, Results, Row
from renorm.evaluate.scores import Against, Change, score
from renorm.metrics import Scores
from renorm.models import Classifier
from renorm.shifts import Shift, seeds_of

Callback = Callable[[float, int, Shift], None]


def evaluate(
    classifier: Classifier,
    images: Images | None,
    choices: Mapping[str, Choice],
    shifts: Sequence[Shift],
    *,
    adapt: Adapted | None = None,
    protocol: Protocol | None = None,
    partial: PartialTable | None = None,
    group: dist.ProcessGroup | None = None,
    callback: Callback | None = None,
) -> Results:
    """Evaluate every bank under every shift, on the same images and pixels.

    Args:
        classifier: The model.
        images: To evaluate on, with labels; None if all shifts have images of their own.
        choices: Banks by the name they have in the table.
        shifts: Changes of the data.
        adapt: Makes further choices for one shift, from that shift's images.
        protocol: How the table is made, by :func:`describe`, which is asked if it is not given.
        partial: Where finished shifts are written and found again; removing it after the table is written is the caller's.
        group: Processes that share the shifts; each gets the whole table, equal to that of one process. None for this
            process alone.
        callback: Told after each batch: cells done and cells in all, of this process, and the shift.

    Raises:
        ValueError: If there is nothing to evaluate, or images have no labels.
    """
    check(images, choices, shifts, adapt)
    protocol = protocol or describe(classifier, images, choices, shifts, adapt.made if adapt else {})
    parts = ranks.from_first(partial.read(len(shifts)) if partial else {}, group)
    rank, num_ranks = ranks.place(group)
    missing = [number for number in range(len(shifts)) if number not in parts][rank::num_ranks]
    finished, banks = len(parts), len(protocol.banks)
    for done, number in enumerate(missing, finished):

        def step(share: float, done: int = done, number: int = number) -> None:
            if callback:
                callback((done + share) * banks, (finished + len(missing)) * banks, shifts[number])

        parts[number] = evaluate_shift(classifier, images, choices, shifts[number], adapt, step)
        if partial:
            partial.write(number, parts[number])
    parts = ranks.from_all(parts, group)
    return assembled(protocol, [parts[number] for number in range(len(shifts))])


def evaluate_shift(
    classifier: Classifier,
    images: Images | None,
    choices: Mapping[str, Choice],
    shift: Shift,
    adapt: Adapted | None,
    step: Callable[[float], None],
) -> TablePart:
    """All banks under one shift."""
    shown = images if shift.images is None else shift.images
    assert shown is not None
    here = {**choices, **(adapt(shift) if adapt else {})}
    found = score(classifier, shown, here, *changes(classifier, shift), shift.outputs, step)
    rows = [summarized(name, shift, each) for name, each in found.items()]
    return TablePart(
        rows, [each.hits for each in found.values()], None if shift.images is None else ImageSet.of(shift.images)
    )


def changes(classifier: Classifier, shift: Shift) -> tuple[Change | None, Against | None]:
    """What a shift does to pixels for all banks, and against each."""
    adversary = shift.adversary
    if adversary is None:
        return partial(shift, device=classifier.device), None

    def against(choice: Choice, pixels: Tensor, labels: Tensor, indices: Tensor) -> Tensor:
        return adversary(classifier, choice, pixels, labels, seeds_of(shift.seed, indices))

    return None, against


def summarized(bank: str, shift: Shift, found: Scores) -> Row:
    """One cell of the table, its interval still to come."""
    accuracy, nll = found.hits.double().mean().item(), found.nll.mean().item()
    top5 = None if found.near is None else found.near.double().mean().item()
    ece = metrics.calibration_error(found.confidence, found.hits)
    return Row(
        bank, shift.name, shift.severity, accuracy, accuracy, accuracy, nll, ece, len(found.hits), shift.seed, top5
    )


def assembled(protocol: Protocol, parts: Sequence[TablePart]) -> Results:
    """The table of all shifts, with the interval of each cell; cells with equally many images share their resamples."""
    rows: dict[Cell, Row] = {row.cell: row for part in parts for row in part.rows}
    hits: dict[Cell, Tensor] = {
        row.cell: each for part in parts for row, each in zip(part.rows, part.hits, strict=True)
    }
    for size in {row.images for row in rows.values()}:
        cells = [cell for cell, row in rows.items() if row.images == size]
        intervals = metrics.bootstrap_columns(torch.stack([hits[cell] for cell in cells], 1), protocol.seed)
        rows |= {cell: replace(rows[cell], low=i.low, high=i.high) for cell, i in zip(cells, intervals, strict=True)}
    own = {label(*part.rows[0].cell[1:]): part.images for part in parts if part.images is not None}
    return Results(replace(protocol, stored=own), list(rows.values()), hits)


def check(
    images: Images | None, choices: Mapping[str, Choice], shifts: Sequence[Shift], adapt: Adapted | None = None
) -> None:
    """Refuse an evaluation of nothing, or one whose cells could not be told apart."""
    num = 0 if images is None else len(images)
    read = [shift.images for shift in shifts if shift.images is not None]
    if not (choices or adapt) or not shifts or (not num and len(read) < len(shifts)) or not all(map(len, read)):
        raise ValueError(
            f"{len(choices)} banks, {len(shifts)} shifts and {num} images: at least one of each is needed. "
            "Name banks and shifts that exist."
        )
    made = {(shift.scale, shift.rounding) for shift in shifts if shift.images is None}
    seeds = {shift.seed for shift in shifts}
    names = [shift.label for shift in shifts]
    twice = sorted({name for name in names if names.count(name) > 1})
    if len(made) > 1 or len(seeds) > 1 or twice:
        what = f"{', '.join(twice)} twice" if twice else "several seeds, scales or roundings"
        raise ValueError(
            f"shifts with {what}: one table needs each shift once, all made in one way. Evaluate them apart, with "
            "a file for each."
        )
    for shown in [*([images] if images is not None and num else []), *read]:
        if int(shown.labels.min()) < 0:
            raise ValueError(
                f"{shown.name} has images without a label: accuracy needs the class of every image. Put images into one "
                "folder per class, or use Parquet with a label column."
            )
