"""Evaluating every bank under every shift."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from renorm import metrics
from renorm.data import Images
from renorm.evaluate.protocol import ImageSet, Protocol, fingerprint, versions
from renorm.evaluate.results import Cell, Results, Row
from renorm.evaluate.shifts import Shift
from renorm.evaluate.subject import Choice, Subject, score
from renorm.metrics import Scores

Adapt = Callable[[Shift], Mapping[str, Choice]]
Callback = Callable[[int, int], None]


def evaluate(
    subject: Subject,
    images: Images,
    choices: Mapping[str, Choice],
    shifts: Sequence[Shift],
    *,
    adapt: Adapt | None = None,
    callback: Callback | None = None,
    model: str = "",
    command: str = "",
) -> Results:
    """Evaluate every bank under every shift, on the same images and pixels.

    Args:
        subject: The model.
        images: To evaluate on, with labels.
        choices: Banks by the name they have in the table.
        shifts: Changes of the data; a shift's seed goes into the table.
        adapt: Makes further choices for one shift, from that shift's images.
        callback: Told after each shift: shifts done, shifts in all.
        model: What the protocol calls the model.
        command: What the protocol says was typed.

    Raises:
        ValueError: If there is nothing to evaluate, or images have no labels.
    """
    check(images, choices, shifts, adapt)
    banks = {name: choice.recipe for name, choice in choices.items()}
    rows: list[Row] = []
    hits: dict[Cell, Tensor] = {}
    for number, shift in enumerate(shifts, 1):
        here = {**choices, **(adapt(shift) if adapt else {})}
        banks |= {name: choice.recipe for name, choice in here.items() if name not in choices}
        for name, found in score(subject, images, here, shift).items():
            rows.append(summarized(name, shift, found))
            hits[rows[-1].cell] = found.hits
        if callback:
            callback(number, len(shifts))
    protocol = Protocol(
        data=ImageSet.of(images),
        classes=len(images.classes),
        seed=shifts[0].seed,
        model=model,
        weights=fingerprint(subject.model),
        mean=tuple(subject.mean),
        std=tuple(subject.std),
        banks=banks,
        versions=versions(subject.device),
        command=command,
    )
    return with_intervals(Results(protocol, rows, hits))


def summarized(bank: str, shift: Shift, found: Scores) -> Row:
    """One cell of the table, its interval still to come."""
    accuracy, nll = found.hits.double().mean().item(), found.nll.mean().item()
    top5 = None if found.near is None else found.near.double().mean().item()
    quality = nll, metrics.calibration_error(found.confidence, found.hits)
    return Row(
        bank, shift.name, shift.severity, accuracy, accuracy, accuracy, *quality, len(found.hits), shift.seed, top5
    )


def with_intervals(results: Results) -> Results:
    """The table with the interval of each cell; cells with equally many images share their resamples."""
    rows = {row.cell: row for row in results.rows}
    for size in {row.images for row in results.rows}:
        cells = [row.cell for row in results.rows if row.images == size]
        generator = torch.Generator().manual_seed(results.protocol.seed)
        intervals = metrics.bootstrap_columns(torch.stack([results.hits[cell] for cell in cells], 1), generator)
        rows |= {cell: replace(rows[cell], low=i.low, high=i.high) for cell, i in zip(cells, intervals, strict=True)}
    return replace(results, rows=list(rows.values()))


def check(images: Images, choices: Mapping[str, Choice], shifts: Sequence[Shift], adapt: Adapt | None) -> None:
    """Refuse an evaluation of nothing."""
    if not (choices or adapt) or not shifts or not len(images):
        raise ValueError(
            f"{len(choices)} banks, {len(shifts)} shifts and {len(images)} images: at least one of each is needed. "
            "Name banks and shifts that exist."
        )
    if int(images.labels.min()) < 0:
        raise ValueError(
            f"{images.name} has images without a label: accuracy needs the class of every image. Put images into one "
            "folder per class, or use Parquet with a label column."
        )
