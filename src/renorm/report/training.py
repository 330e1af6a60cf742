"""What a training says of itself, epoch by epoch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import cycle
from math import isfinite
from typing import Any

from renorm.report.colors import LINES
from renorm.report.record import Side

LOSS, ACCURACY = "cross-entropy in nats", "accuracy in %"


@dataclass(frozen=True)
class Learned:
    """One line of a training: values by epoch, of training views or of test images."""

    name: str
    color: str
    values: Mapping[int, float]
    test: bool


def learned(sides: Sequence[Side]) -> dict[str, list[Learned]]:
    """Curves of trainings by the title of their axis: of one run each branch, of several only what each reached."""
    single, colors = len(sides) == 1, cycle(LINES)
    found: dict[str, list[Learned]] = {LOSS: [], ACCURACY: []}
    for side in sides:
        histories = [record.history for record in side.records if record.history]
        keys = dict.fromkeys(key for history in histories for key in history[-1] if "/" in key)
        names = dict.fromkeys(key.partition("/")[2] for key in keys)
        for name, color in ((name, next(colors)) for name in names):
            prefix = "" if single else f"{side.name}: "
            curve = {"loss": f"{prefix}{name}, training views", "accuracy": f"{prefix}{name}, training views"}
            curve |= {"test": f"{prefix}{name}, clean test images"}
            for kind, label in curve.items():
                values = _averaged(histories, f"{kind}/{name}", 1 if kind == "loss" else 100)
                if values and (single or kind != "accuracy"):
                    found[LOSS if kind == "loss" else ACCURACY].append(Learned(label, color, values, kind == "test"))
    return {title: lines for title, lines in found.items() if lines}


def _averaged(histories: Sequence[Sequence[Mapping[str, Any]]], key: str, factor: float) -> dict[int, float]:
    """Mean over runs of a number by epoch, as far as all of them went."""
    runs = [{record["epoch"]: record[key] for record in history if key in record} for history in histories]
    epochs = sorted(set.intersection(*map(set, runs))) if runs else []
    means = {epoch: factor * sum(run[epoch] for run in runs) / len(runs) for epoch in epochs}
    return {epoch: mean for epoch, mean in means.items() if isfinite(mean)}
