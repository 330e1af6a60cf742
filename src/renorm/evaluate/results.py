"""The table bank x shift as a value and as two files: a table, and which images each cell had right."""

import csv
import io
import json
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
import torch
from torch import Tensor

from renorm.evaluate.protocol import Protocol
from renorm.files import write_atomically

FORMAT = "renorm.results/1"

Cell = tuple[str, str, int]
"""Bank, shift and severity."""


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
    top5: float | None = None  # for more than five classes

    @property
    def cell(self) -> Cell:
        """What the row is about."""
        return self.bank, self.shift, self.severity


@dataclass(frozen=True)
class Results:
    """A table with all that is needed to compare it with another.

    Args:
        protocol: How it was made; of a file that does not say, one that is not ``known``.
        rows: One per cell.
        hits: Which images each cell had right, bool ``(N,)`` in the data's order; empty for a file that does not say.
    """

    protocol: Protocol
    rows: list[Row]
    hits: Mapping[Cell, Tensor] = field(default_factory=dict)


def write_results(path: Path, results: Results) -> None:
    """Write the table as CSV, and the hits beside it under the same name as safetensors; each file as a whole.

    Each row also carries the columns of :meth:`Protocol.columns`, so that it can be read alone.

    Raises:
        ValueError: If the path does not end in ``.csv``.
        OSError: If it cannot be written; a former table is kept.
    """
    check_name(path)
    tensors = {_key(cell): hits.to(torch.uint8) for cell, hits in results.hits.items()}
    metadata = {"format": FORMAT, "protocol": results.protocol.to_json()}
    write_atomically(_beside(path), safetensors.torch.save(tensors, metadata))
    text = io.StringIO()
    names = [each.name for each in fields(Row)]
    writer = csv.DictWriter(text, [*names, *Protocol().columns("", "", 0)], lineterminator="\n")
    writer.writeheader()
    for row in results.rows:
        values = {name: getattr(row, name) for name in names}
        writer.writerow(values | results.protocol.columns(*row.cell))
    write_atomically(path, text.getvalue().encode())


def read_results(path: Path) -> Results:
    """Read what :func:`write_results` wrote; without the file of hits, the rows alone.

    Raises:
        FileNotFoundError: If there is no table.
        ValueError: If it is not one, or the file of hits is damaged or another table's.
    """
    again = f"Make it with `renorm evaluate MODEL --out {path}`."
    if not path.exists():
        raise FileNotFoundError(f"no {path}: a table bank x shift is needed. {again}")
    try:
        with path.open(encoding="utf-8", newline="") as file:
            rows = [_row(line) for line in csv.DictReader(file)]
    except (KeyError, TypeError, ValueError) as error:
        columns = ", ".join(each.name for each in fields(Row))
        raise ValueError(
            f"{path} is not a table bank x shift ({error}): the columns {columns} are needed. {again}"
        ) from error
    if not _beside(path).exists():
        return Results(Protocol(), rows)
    results = _with_hits(rows, _beside(path), again)
    for row in rows:
        if row.cell not in results.hits or abs(float(results.hits[row.cell].double().mean()) - row.accuracy) > 1e-9:
            raise ValueError(
                f"{_beside(path)} does not belong to {path}: they differ in {row.bank} under {row.shift} {row.severity}. "
                f"Both are needed as they were written. {again}"
            )
    return results


def check_name(path: Path) -> None:
    """Refuse a path that is no table's."""
    if path.suffix != ".csv":
        raise ValueError(
            f"a table cannot be written as {path.name}: a name that ends in .csv is needed, and the hits stand beside it. "
            f"Call it {path.with_suffix('.csv').name}."
        )


def _beside(path: Path) -> Path:
    return path.with_suffix(".safetensors")


def _key(cell: Cell) -> str:
    return json.dumps(cell)


def _cell(key: str) -> Cell:
    bank, shift, severity = json.loads(key)
    return bank, shift, severity


def _with_hits(rows: list[Row], path: Path, again: str) -> Results:
    try:
        with safetensors.safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            if metadata.get("format") != FORMAT:
                raise ValueError(f"format {metadata.get('format')}")
            hits = {_cell(key): file.get_tensor(key).bool() for key in file.keys()}  # noqa: SIM118
        return Results(Protocol.from_json(metadata["protocol"]), rows, hits)
    except (safetensors.SafetensorError, KeyError, TypeError, ValueError, OSError) as error:
        raise ValueError(
            f"{path} cannot be read as the hits of a table ({error}): the file that was written with it is needed. {again}"
        ) from error


def _row(line: Mapping[str, str]) -> Row:
    kinds: dict[str, Any] = {"bank": str, "shift": str, "severity": int, "images": int, "seed": int}
    names = [each.name for each in fields(Row) if each.name != "top5"]
    top5 = line.get("top5")  # older tables have none
    return Row(**{name: kinds.get(name, float)(line[name]) for name in names}, top5=float(top5) if top5 else None)
