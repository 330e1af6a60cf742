"""Evaluating every bank under every shift."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import torch
import torch.distributed as dist
from torch import Tensor

from renorm import metrics
from renorm.banks import Choice
from renorm.data import Images
from renorm.evaluate import ranks
from renorm.evaluate.banks import Adapted
from renorm.evaluate.former import make_place, read_former, together
from renorm.evaluate.older import MEASURES
from renorm.evaluate.protocol import ImageSet, Protocol, describe
from renorm.evaluate.results import ACCURACY, CellKey, Results, Row, write_results
from renorm.evaluate.scores import Against, PixelChange, score
from renorm.metrics import Scores
from renorm.models import Classifier
from renorm.shifts import Shift, seeds_of

ShiftCallback = Callable[[float, int, Shift], None]
ShiftListener = Callable[[Shift, Mapping[str, float]], None]


def evaluate(
    classifier: Classifier,
    images: Images | None,
    choices: Mapping[str, Choice],
    shifts: Sequence[Shift],
    *,
    adapt: Adapted | None = None,
    protocol: Protocol | None = None,
    out: Path | None = None,
    group: dist.ProcessGroup | None = None,
    callback: ShiftCallback | None = None,
    listener: ShiftListener | None = None,
) -> Results:
    """Evaluate every bank under every shift, on the same images and pixels.

    With ``out`` the table is written after each shift. Called again after it was stopped, it goes on with the shifts that are
    not there; a table that was made in the same way gets further banks and shifts, and one that was made otherwise is kept
    under another name (see :func:`renorm.evaluate.read_former`).

    Args:
        classifier: The model.
        images: To evaluate on, with labels; None if all shifts have images of their own.
        choices: Banks by the name they have in the table.
        shifts: Changes of the data.
        adapt: Makes further choices for one shift, from that shift's images.
        protocol: How the table is made, by :func:`describe`, which is asked if it is not given.
        out: Where to write the table; None for nowhere.
        group: Processes that share the shifts; each gets the whole table, equal to that of one process, and the first writes
            it. None for this process alone.
        callback: Told after each batch: cells done and cells in all, of this process, and the shift.
        listener: Told of each shift that is done, in whichever process, and the accuracies of the banks under it, in 0..1.

    Raises:
        ValueError: If there is nothing to evaluate, or images have no labels.
    """
    check(images, choices, shifts, adapt)
    adapted = adapt.made if adapt else {}
    protocol = protocol or describe(classifier, images, choices, shifts, adapted)
    found = ranks.from_first(read_former(out, protocol, shifts), group)
    results = found.results or Results(protocol, [])
    protocol = together(results.protocol, protocol)
    order = list(dict.fromkeys([*results.shifts, *((shift.name, shift.severity) for shift in shifts)]))
    wanted = {shift.label: _lacking(results, shift, [*choices, *adapted]) for shift in shifts}
    waiting = [shift for shift in shifts if wanted[shift.label]]
    rank, num_ranks = ranks.place(group)
    total = len(shifts) * len([*choices, *adapted])
    done = total - sum(map(len, wanted.values()))
    for first in range(0, len(waiting), num_ranks):
        mine = waiting[first + rank : first + num_ranks][:1]
        tables: list[Results] = []
        for shift in mine:

            def step(share: float, shift: Shift = shift, done: int = done) -> None:
                if callback:
                    callback(done + share * len(wanted[shift.label]), total, shift)

            tables.append(
                evaluate_shift(classifier, images, choices, shift, adapt, wanted[shift.label], step, protocol)
            )
        tables = [table for each in ranks.from_all(tables, group) for table in each]
        finished = waiting[first : first + num_ranks]
        done += sum(len(wanted[shift.label]) for shift in finished)
        for shift, table in zip(finished, tables, strict=True):
            if listener:
                listener(shift, {row.bank: row.value for row in table.only()})
        missing = tuple(shift.label for shift in waiting[first + num_ranks :])
        results = joined(protocol, [results, *tables], order, missing)
        if out is not None and rank == 0:
            if found.unlike and first == 0:
                make_place(out)
            write_results(out, results)
    return results


def evaluate_shift(
    classifier: Classifier,
    images: Images | None,
    choices: Mapping[str, Choice],
    shift: Shift,
    adapt: Adapted | None,
    wanted: Collection[str],
    step: Callable[[float], None],
    protocol: Protocol,
) -> Results:
    """Some banks under one shift, as a table of its own."""
    shown = images if shift.images is None else shift.images
    assert shown is not None
    adapted = adapt(shift) if adapt and not set(adapt.made).isdisjoint(wanted) else {}
    here = {name: choice for name, choice in {**choices, **adapted}.items() if name in wanted}
    found = score(classifier, shown, here, *changes(classifier, shift), shift.outputs, step)
    values: dict[str, dict[CellKey, Tensor]] = {}
    for name, each in found.items():
        for measure, hits in _shares(each).items():
            values.setdefault(measure, {})[name, shift.name, shift.severity] = hits
    own = {} if shift.images is None else {shift.label: ImageSet.of(shift.images, shift.outputs)}
    return Results(replace(protocol, stored=own), summarized(shift, found, protocol.seed), values)


def changes(classifier: Classifier, shift: Shift) -> tuple[PixelChange | None, Against | None]:
    """What a shift does to pixels for all banks, and against each."""
    adversary = shift.adversary
    if adversary is None:
        return partial(shift, device=classifier.device), None

    def against(choice: Choice, pixels: Tensor, labels: Tensor, indices: Tensor) -> Tensor:
        return adversary(classifier, choice, pixels, labels, seeds_of(shift.seed, indices))

    return None, against


def summarized(shift: Shift, scores: Mapping[str, Scores], seed: int) -> list[Row]:
    """The numbers of all banks under one shift; shares of images with their intervals, whose resamples they share."""
    shares = {(name, measure): values for name, each in scores.items() for measure, values in _shares(each).items()}
    intervals = metrics.bootstrap_columns(torch.stack(list(shares.values()), 1), seed)
    ends = {key: (interval.low, interval.high) for key, interval in zip(shares, intervals, strict=True)}
    rows = []
    for name, each in scores.items():
        numbers = {measure: values.double().mean().item() for measure, values in _shares(each).items()}
        numbers["nll"] = each.nll.mean().item()
        numbers["ece"] = metrics.calibration_error(each.confidence, each.hits)
        for measure in (measure for measure in MEASURES if measure in numbers):
            low, high = ends.get((name, measure), (None, None))
            about = name, shift.name, shift.severity, measure
            rows.append(Row(*about, numbers[measure], low, high, len(each.hits), shift.seed))
    return rows


def _shares(found: Scores) -> dict[str, Tensor]:
    """Which images are right, by the measures that count them."""
    return {ACCURACY: found.hits} if found.near is None else {ACCURACY: found.hits, "top5": found.near}


def joined(
    protocol: Protocol, tables: Sequence[Results], order: Sequence[tuple[str, int]], missing: Sequence[str] = ()
) -> Results:
    """One table of several that were made in the same way, with shifts in an order and banks in the protocol's."""
    banks = list(protocol.banks)
    values: dict[str, dict[CellKey, Tensor]] = {}
    for table in tables:
        for measure, cells in table.values.items():
            values.setdefault(measure, {}).update(cells)
    rows = [row for table in tables for row in table.rows]
    rows.sort(key=lambda row: (order.index((row.shift, row.severity)), banks.index(row.bank)))
    stored = {name: each for table in tables for name, each in table.protocol.stored.items()}
    return Results(replace(protocol, stored=stored), rows, values, tuple(missing))


def _lacking(results: Results, shift: Shift, banks: Sequence[str]) -> list[str]:
    """Banks that a table does not have under a shift."""
    there = {row.cell for row in results.only()}
    return [name for name in banks if (name, shift.name, shift.severity) not in there]


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
