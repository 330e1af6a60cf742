"""The table bank x shift as a value and as two files: one number a row, and what each image adds to it."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
import torch
from torch import Tensor

from renorm.evaluate.older import OLDER, from_columns
from renorm.evaluate.protocol import Protocol, label
from renorm.files import write_atomically

FORMAT = "1"
ACCURACY = "accuracy"
WHOLE = (ACCURACY, "top5")  # right or wrong, a byte for each image

CellKey = tuple[str, str, int]
"""Bank, shift and severity."""


@dataclass(frozen=True)
class Row:
    """One number of one cell.

    Args:
        bank: What the model was evaluated with.
        shift: What was done to the images.
        severity: Of the shift, 0 where it has none.
        measure: What was measured: ``accuracy`` and ``top5`` (for more than five classes) and ``ece`` in 0..1, ``nll`` in nats.
        value: The number.
        low: Lower end of its bootstrap 95 % interval over images; None where there is none.
        high: Upper end.
        count: Images.
        seed: Of the draw of images, the shift and the interval.
    """

    bank: str
    shift: str
    severity: int
    measure: str
    value: float
    low: float | None
    high: float | None
    count: int
    seed: int

    @property
    def cell(self) -> CellKey:
        """What the row is about."""
        return self.bank, self.shift, self.severity


@dataclass(frozen=True)
class Results:
    """A table with all that is needed to compare it with another.

    Args:
        protocol: How it was made; of a file that does not say, one that is not ``known``.
        rows: One per cell and measure.
        values: Of a measure that is a mean over images, what each image of a cell adds to it, ``(N,)`` in the data's order:
            bool for ``accuracy`` and ``top5``. Empty for a file that does not say.
        missing: Shifts that the evaluation was to have and that are not there yet, as it was stopped.
    """

    protocol: Protocol
    rows: list[Row]
    values: Mapping[str, Mapping[CellKey, Tensor]] = field(default_factory=dict)
    missing: tuple[str, ...] = ()

    @property
    def hits(self) -> Mapping[CellKey, Tensor]:
        """Which images each cell had right."""
        return self.values.get(ACCURACY, {})

    @property
    def banks(self) -> list[str]:
        """Names of the banks, in order."""
        return list(dict.fromkeys(row.bank for row in self.rows))

    @property
    def shifts(self) -> list[tuple[str, int]]:
        """Shifts and severities, in order."""
        return list(dict.fromkeys((row.shift, row.severity) for row in self.rows))

    def only(self, measure: str = ACCURACY) -> list[Row]:
        """The rows of one measure."""
        return [row for row in self.rows if row.measure == measure]

    def subset(self, banks: Collection[str], shifts: Collection[tuple[str, int]]) -> Results:
        """Some banks under some shifts."""
        rows = [row for row in self.rows if row.bank in banks and (row.shift, row.severity) in shifts]
        return replace(self, rows=rows)

    def get(self, cell: CellKey, measure: str = ACCURACY) -> Row | None:
        """One row, None where the table has none."""
        return next((row for row in self.rows if row.cell == cell and row.measure == measure), None)


def write_results(path: Path, results: Results) -> None:
    """Write the table as CSV, and what each image adds beside it under the same name as safetensors; each file as a whole.

    The CSV comes last, so that a process killed between the two leaves a table that :func:`read_results` reads.

    Raises:
        ValueError: If the path does not end in ``.csv``.
        OSError: If it cannot be written; a former table is kept.
    """
    check_table_name(path)
    write_atomically(beside(path), safetensors.torch.save(*_packed(results)))
    text = io.StringIO()
    names = [each.name for each in fields(Row)]
    writer = csv.DictWriter(text, names, lineterminator="\n")
    writer.writeheader()
    writer.writerows({name: getattr(row, name) for name in names} for row in results.rows)
    write_atomically(path, text.getvalue().encode())


def read_results(path: Path) -> Results:
    """Read what :func:`write_results` wrote, or an older table; without the file beside it, the rows alone.

    Raises:
        FileNotFoundError: If there is no table.
        ValueError: If it is not one, or the file beside it is damaged or another table's.
    """
    again = f"Make it with `renorm evaluate MODEL --out {path}`."
    if not path.exists():
        raise FileNotFoundError(f"no {path}: a table bank x shift is needed. {again}")
    rows = _rows(path, again)
    if not beside(path).exists():
        return Results(Protocol(), rows)
    protocol, values, missing = _unpacked(beside(path), again)
    cells = {(row.cell, row.measure) for row in rows}
    values = {m: {c: v for c, v in of.items() if (c, m) in cells} for m, of in values.items()}
    results = Results(protocol, rows, values, missing)
    for row in results.only():
        if row.cell not in results.hits or abs(float(results.hits[row.cell].double().mean()) - row.value) > 1e-9:
            raise ValueError(
                f"{beside(path)} does not belong to {path}: they differ in {row.bank} under {label(*row.cell[1:])}. "
                f"Both are needed as they were written. {again}"
            )
    return results


def check_table_name(path: Path) -> None:
    """Refuse a path that is no table's."""
    if path.suffix != ".csv":
        raise ValueError(
            f"a table cannot be written as {path.name}: a name that ends in .csv is needed, and what each image adds stands "
            f"beside it. Call it {path.with_suffix('.csv').name}."
        )


def beside(path: Path) -> Path:
    """The file of single images that belongs to a table."""
    return path.with_suffix(".safetensors")


def _rows(path: Path, again: str) -> list[Row]:
    try:
        with path.open(encoding="utf-8", newline="") as file:
            lines = list(csv.DictReader(file))
        if lines and "measure" not in lines[0]:
            lines = from_columns(lines)
        return [_row(line) for line in lines]
    except (KeyError, TypeError, ValueError) as error:
        columns = ", ".join(each.name for each in fields(Row))
        raise ValueError(
            f"{path} is not a table bank x shift ({error}): the columns {columns} are needed. {again}"
        ) from error


def _row(line: Mapping[str, str]) -> Row:
    kinds: dict[str, Any] = {
        "severity": int,
        "value": float,
        "low": _number,
        "high": _number,
        "count": int,
        "seed": int,
    }
    return Row(**{each.name: kinds.get(each.name, str)(line[each.name]) for each in fields(Row)})


def _number(text: str) -> float | None:
    return float(text) if text else None


def _packed(results: Results) -> tuple[dict[str, Tensor], dict[str, str]]:
    tensors = {
        json.dumps([*cell, measure]): value.to(torch.uint8) if measure in WHOLE else value
        for measure, cells in results.values.items()
        for cell, value in cells.items()
    }
    about = {"format": FORMAT, "protocol": results.protocol.to_json(), "missing": json.dumps(results.missing)}
    return tensors, about


def _unpacked(path: Path, again: str) -> tuple[Protocol, dict[str, dict[CellKey, Tensor]], tuple[str, ...]]:
    try:
        with safetensors.safe_open(path, framework="pt") as file:
            about, values = file.metadata() or {}, dict[str, dict[CellKey, Tensor]]()
            if about.get("format") not in (FORMAT, OLDER):
                raise ValueError(f"format {about.get('format')}")
            for key in file.keys():  # noqa: SIM118
                *cell, measure = [*json.loads(key), ACCURACY][:4]  # of an older table the accuracy alone
                value = file.get_tensor(key)
                values.setdefault(measure, {})[tuple(cell)] = value.bool() if measure in WHOLE else value
        return Protocol.from_json(about["protocol"]), values, tuple(json.loads(about.get("missing", "[]")))
    except (safetensors.SafetensorError, KeyError, TypeError, ValueError, OSError) as error:
        raise ValueError(
            f"{path} cannot be read as what each image adds to a table ({error}): the file that was written with it is needed. "
            f"{again}"
        ) from error
