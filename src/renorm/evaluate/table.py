"""The table bank x shift, and its file."""

import csv
import io
from collections.abc import Callable, Mapping, Sequence
from dataclasses import astuple, dataclass, fields
from pathlib import Path

import torch
from torch import Tensor

from renorm import metrics
from renorm.data import Images
from renorm.evaluate.shifts import Shift
from renorm.evaluate.subject import Choice, Subject, logits
from renorm.files import write_atomically


@dataclass(frozen=True)
class Row:
    """One cell of the table; accuracy and ECE in 0..1 with a bootstrap 95 % interval over images, NLL in nats."""

    bank: str
    shift: str
    severity: int
    accuracy: float
    low: float
    high: float
    nll: float
    ece: float
    images: int
    seed: int


TYPES = {"bank": str, "shift": str, "severity": int, "images": int, "seed": int}

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
) -> list[Row]:
    """Evaluate every bank under every shift, on the same images and pixels.

    Args:
        subject: The model.
        images: To evaluate on, with labels.
        choices: Banks by the name they have in the table.
        shifts: Changes of the data; a shift's seed goes into the table.
        adapt: Makes further choices for one shift, from that shift's images.
        callback: Told after each shift: shifts done, shifts in all.

    Raises:
        ValueError: If there is nothing to evaluate, or images have no labels.
    """
    check(images, choices, shifts, adapt)
    rows = []
    for number, shift in enumerate(shifts, 1):
        here = {**choices, **(adapt(shift) if adapt else {})}
        found = logits(subject, images, here, shift)
        rows += [score(name, shift, output, images.labels) for name, output in found.items()]
        if callback:
            callback(number, len(shifts))
    return rows


def score(bank: str, shift: Shift, output: Tensor, labels: Tensor) -> Row:
    """One cell of the table; the resamples of the interval are the same for all cells of a seed."""
    hits = metrics.correct(output, labels)
    interval = metrics.bootstrap(hits, torch.Generator().manual_seed(shift.seed))
    quality = metrics.nll(output, labels), metrics.ece(output, labels)
    return Row(bank, shift.name, shift.severity, *interval, *quality, len(labels), shift.seed)


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


def write_results(path: Path, rows: Sequence[Row]) -> None:
    """Write the table as CSV, as a whole."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(field.name for field in fields(Row))
    writer.writerows(astuple(row) for row in rows)
    write_atomically(path, text.getvalue().encode())


def read_results(path: Path) -> list[Row]:
    """Read what :func:`write_results` wrote.

    Raises:
        FileNotFoundError: If there is no table.
        ValueError: If it is not one.
    """
    again = f"Make it with `renorm evaluate {path.parent}`."
    if not path.exists():
        raise FileNotFoundError(f"no {path}: a table bank x shift is needed. {again}")
    try:
        with path.open(encoding="utf-8", newline="") as file:
            return [_row(line) for line in csv.DictReader(file)]
    except (KeyError, TypeError, ValueError) as error:
        columns = ", ".join(field.name for field in fields(Row))
        raise ValueError(
            f"{path} is not a table bank x shift ({error}): the columns {columns} are needed. {again}"
        ) from error


def _row(line: Mapping[str, str]) -> Row:
    return Row(**{field.name: TYPES.get(field.name, float)(line[field.name]) for field in fields(Row)})
