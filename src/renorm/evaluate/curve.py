"""A curve as a value and a file, and what is finished of it while it is drawn."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from renorm.data import Images
from renorm.evaluate.curve_points import CurveMean, CurvePlan, CurvePoint, Points, averaged, one_draw
from renorm.evaluate.protocol import Protocol
from renorm.evaluate.table import ShiftCallback
from renorm.files import write_atomically
from renorm.metrics import over_runs
from renorm.models import Classifier
from renorm.shifts import Shift

MEAN = "mean"


@dataclass(frozen=True)
class Curve:
    """Accuracy by the number of images, of several methods under several shifts.

    Args:
        protocol: How it was made.
        plan: Who was adapted to and who judged.
        shifts: In order.
        draws: Of each shift, each draw's points.
    """

    protocol: Protocol
    plan: CurvePlan
    shifts: tuple[Shift, ...]
    draws: tuple[tuple[Points, ...], ...]

    def line(self, method: str, name: str = "") -> list[CurveMean]:
        """A method's accuracy at each number of images, averaged over the shifts of a name, or over all of them."""
        found = [draws for shift, draws in zip(self.shifts, self.draws, strict=True) if name in ("", shift.name)]
        return [averaged(found, method, place) for place in range(len(self.plan.sizes))]

    def leaders(self, name: str = "") -> list[str | None]:
        """At each number of images the method that leads all others by more than chance, paired by draw, if there is one."""
        lines = {method: self.line(method, name) for method in self.plan.methods}
        return [
            _leader({method: line[place] for method, line in lines.items()}) for place in range(len(self.plan.sizes))
        ]

    @property
    def caption(self) -> str:
        """What a reader of the picture must know."""
        data, plan = self.protocol.data, self.plan
        shown = data.name if data else ""
        return (
            f"{self.protocol.model} on {shown}: mean and 95 % band (Student) over {plan.draws} draws of the images adapted "
            f"to, seeds {plan.seed + 1} to {plan.seed + plan.draws}; judged on the same {len(plan.judged):,} other images, "
            f"seed {plan.seed}. {self.protocol.command}"
        )


def _leader(means: Mapping[str, CurveMean]) -> str | None:
    top = max(means, key=lambda method: means[method].accuracy.value)
    leads = [
        over_runs([ours - theirs for ours, theirs in zip(means[top].by_draw, mean.by_draw, strict=True)])
        for method, mean in means.items()
        if method != top
    ]
    return top if all(lead.low > 0 for lead in leads) else None


def make_curve(
    classifier: Classifier,
    images: Images,
    shifts: Sequence[Shift],
    plan: CurvePlan,
    protocol: Protocol,
    *,
    branch: str | None = None,
    partial: Path | None = None,
    callback: ShiftCallback | None = None,
) -> Curve:
    """Draw after draw under one shift after another, leaving out those that a former call finished.

    Args:
        classifier: The model.
        images: With labels.
        shifts: Changes of all images.
        plan: Who is adapted to, who is judged.
        protocol: How the curve is made.
        branch: Whose statistics to adapt.
        partial: A folder for what is finished, :func:`partial_under` some place, which is the caller's to remove; None for none.
        callback: Told draws done, all draws, and the shift.
    """
    total, found = len(shifts) * plan.draws, []
    for number, shift in enumerate(shifts):
        of_shift = []
        for draw in range(plan.draws):
            before = number * plan.draws + draw

            def step(share: float, before: int = before, shift: Shift = shift) -> None:
                if callback:
                    callback(before + share, total, shift)

            file = None if partial is None else partial / f"{number}-{draw}.json"
            points = file and read_points(file)
            if not points:
                points = one_draw(classifier, images, shift, plan, draw, branch, step)
                if file:
                    write_atomically(file, json.dumps(points).encode())
            step(1.0)
            of_shift.append(points)
        found.append(tuple(of_shift))
    return Curve(protocol, plan, tuple(shifts), tuple(found))


def partial_under(root: Path, shifts: Sequence[Shift], plan: CurvePlan, protocol: Protocol, branch: str | None) -> Path:
    """The place of a curve's finished draws: another one where anything differs but the number of draws."""
    described = [(s.name, s.severity, s.seed, s.scale, s.rounding) for s in shifts]
    how = [list(plan.methods), plan.sizes, plan.judged.tolist(), plan.seed, branch]
    text = json.dumps([replace(protocol, command="").to_json(), described, how])
    return root / hashlib.sha256(text.encode()).hexdigest()[:16]


def forget_partial(folder: Path) -> None:
    """Remove a curve's place once its file is written, and the root where it was the last; others stay."""
    shutil.rmtree(folder, ignore_errors=True)
    if folder.parent.is_dir() and not any(folder.parent.iterdir()):
        folder.parent.rmdir()


def read_points(path: Path) -> Points | None:
    """A finished draw; a missing or damaged file is none."""
    try:
        return {name: [CurvePoint(*each) for each in line] for name, line in json.loads(path.read_bytes()).items()}
    except (OSError, ValueError, TypeError, AttributeError):
        return None


def write_curve(path: Path, curve: Curve) -> None:
    """Write a row for each method, number of images and shift as CSV, as a whole; of several shifts also their mean.

    Raises:
        OSError: It cannot be written; a former file is kept.
    """
    lines = [row for name in curve.plan.methods for row in curve_rows(curve, name)]
    text = io.StringIO()
    writer = csv.DictWriter(text, list(lines[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(lines)
    write_atomically(path, text.getvalue().encode())


def curve_rows(curve: Curve, method: str) -> list[dict[str, object]]:
    """The rows of a method."""
    groups = [(shift, [draws]) for shift, draws in zip(curve.shifts, curve.draws, strict=True)]
    if len(groups) > 1:
        groups.append((Shift(MEAN, seed=curve.plan.seed), list(curve.draws)))
    return [
        row(curve, method, place, shift, averaged(draws, method, place))
        for shift, draws in groups
        for place in range(len(curve.plan.sizes))
    ]


def row(curve: Curve, method: str, place: int, shift: Shift, cell: CurveMean) -> dict[str, object]:
    """One row."""
    return {
        "method": method,
        "images": curve.plan.sizes[place],
        "shift": shift.name,
        "severity": shift.severity,
        "accuracy": cell.accuracy.value,
        "low": cell.accuracy.low,
        "high": cell.accuracy.high,
        "source_weight": cell.source_weight,
        "draws": curve.plan.draws,
        "by_draw": " ".join(map(repr, cell.by_draw)),
        "judged": len(curve.plan.judged),
        "seed": curve.plan.seed,
        **curve.protocol.columns(method, shift.name, shift.severity),
    }
