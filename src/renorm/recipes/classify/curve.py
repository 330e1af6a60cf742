"""A classifier's accuracy against the number of images it is adapted to: what is drawn, and its files."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from renorm.data import Images
from renorm.evaluate import (
    USUAL_METHODS,
    Choice,
    Curve,
    CurvePlan,
    Method,
    Protocol,
    ShiftCallback,
    describe,
    forget_partial,
    make_curve,
    partial_under,
    plan_curve,
    write_curve,
)
from renorm.files import write_atomically
from renorm.recipes.classify.named import NamedModel
from renorm.recipes.classify.score import views_of
from renorm.shifts import Shift, make_shifts


class PreparedCurve(NamedTuple):
    """A curve before it is computed: all that could be refused was."""

    named: NamedModel
    images: Images
    branch: str | None
    plan: CurvePlan
    shifts: Sequence[Shift]
    protocol: Protocol

    def partial(self, path: Path) -> Path:
        """Where what is finished stands while the picture at ``path`` is not there."""
        return partial_under(path.parent / f".{path.stem}.curve", self.shifts, self.plan, self.protocol, self.branch)


class CurveOptions(NamedTuple):
    """What a curve compares; see :func:`renorm.evaluate.plan_curve`.

    Args:
        methods: Their names; by default the usual ones.
        sizes: Numbers of images to adapt to.
        draws: How often the images are drawn.
        shifts: Corruptions or views; by default the images as they are.
        num_judged: How many images to judge on, at most half; 0 for half.
        seed: Of all draws, shifts and intervals.
    """

    methods: Sequence[str] = ()
    sizes: Sequence[int] = ()
    draws: int = 5
    shifts: Sequence[str] = ()
    num_judged: int = 0
    seed: int = 0


def prepare_curve(
    named: NamedModel,
    images: Images,
    asked: CurveOptions,
    branch: str | None = None,
    *,
    model: str = "",
    command: str = "",
) -> PreparedCurve:
    """Divide the images, make the shifts, and say how the curve is made.

    Args:
        named: The model.
        images: With labels.
        asked: What is compared.
        branch: Whose statistics to adapt.
        model: What the model is called in the file.
        command: What was typed, if anything was.

    Raises:
        ValueError: For an unknown name, a shift that is no change of the images alone, or too few images.
    """
    images = named.classifier.in_order(images)
    methods = [Method.named(name) for name in asked.methods or USUAL_METHODS]
    options = {"sizes": asked.sizes, "draws": asked.draws, "num_judged": asked.num_judged, "seed": asked.seed}
    plan = plan_curve(images, methods, **options)
    shifts = _shifts(named, images, asked)
    recipes = {name: Choice(made=method.made) for name, method in plan.methods.items()}
    protocol = describe(named.classifier, images, recipes, shifts, model=model, command=command)
    return PreparedCurve(named, images, branch, plan, shifts, protocol)


def draw_curve(prepared: PreparedCurve, path: Path, callback: ShiftCallback | None = None) -> Curve:
    """Compute a curve and write its picture, with the numbers beside it as .csv; stopped and called again, it goes on.

    Args:
        prepared: What :func:`prepare_curve` gives.
        path: Of the picture, a .png.
        callback: Told draws done, all draws, and the shift.
    """
    from renorm.report import by_images, figures

    named, images, branch, plan, shifts, protocol = prepared
    partial = prepared.partial(path)
    options = {"branch": branch, "partial": partial, "callback": callback}
    found = make_curve(named.classifier, images, shifts, plan, protocol, **options)
    write_curve(path.with_suffix(".csv"), found)
    write_atomically(path, figures.png(by_images.figure(found), protocol.command))
    forget_partial(partial)
    return found


def _shifts(named: NamedModel, images: Images, asked: CurveOptions) -> list[Shift]:
    found = make_shifts(asked.shifts or ("clean",), views_of(named, images), asked.seed)
    attacks = [shift.name for shift in found if shift.adversary is not None]
    if attacks:
        raise ValueError(
            f"--shifts {attacks[0]} with --curve: an attack sees the model, whose statistics differ along a curve. Name "
            "corruptions or views, or evaluate attacks by renorm evaluate --adapt."
        )
    return found
