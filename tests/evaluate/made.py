"""Tables made by hand."""

from collections.abc import Mapping

from torch import Tensor

from renorm.evaluate import CellKey, Protocol, Results, Row


def row(cell: CellKey, hits: Tensor, ends: tuple[float, float] = (0.0, 1.0), seed: int = 0) -> Row:
    """The accuracy of a cell."""
    return Row(*cell, "accuracy", hits.double().mean().item(), *ends, len(hits), seed)


def results(protocol: Protocol, hits: Mapping[CellKey, Tensor], half: float | None = None, seed: int = 0) -> Results:
    """A table of which images each cell had right; intervals are from 0 to 1, or so wide to either side."""
    rows = []
    for cell, each in hits.items():
        made = row(cell, each, seed=seed)
        ends = (0.0, 1.0) if half is None else (made.value - half, made.value + half)
        rows.append(row(cell, each, ends, seed))
    return Results(protocol, rows, {"accuracy": hits})
