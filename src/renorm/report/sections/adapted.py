"""The page of an adaptation: how far images are, what the verdict is, what changes, and what labels tell."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from torch import Tensor

from renorm.evaluate import Curve, PredictionChange
from renorm.metrics import Interval
from renorm.report import by_images, figures
from renorm.report.section import Chart, Command, Facts, Gallery, Head, Section
from renorm.report.sections.examples import Strip

SITES = (
    "At every site, a normalization layer of the model, how far the means of these images are from those of the training images "
    "(the source), in its standard deviations, and how far chance alone would put so many images. The first sites see light, "
    "contrast and noise, the last ones classes and scenes."
)


@dataclass(frozen=True)
class Repair:
    """What an adaptation found.

    Args:
        model: Its name.
        images: What it was adapted to, in words.
        verdict: Home, shifted, foreign, or nothing.
        reason: Of the verdict.
        advice: What to do.
        weight: What the source keeps.
        distances: Of each site.
        chance: Of each site.
        change: Of predictions.
        judged: On which images.
        examples: Some of these, uint8 ``(N, 3, H, W)``.
        captions: Under each.
        curve: Gain against the number of images, where there are labels.
        command: What was typed.
    """

    model: str
    images: str
    verdict: str
    reason: str
    advice: str
    weight: float
    distances: Mapping[str, float]
    chance: Mapping[str, float]
    change: PredictionChange
    judged: str
    examples: Tensor
    captions: Sequence[str]
    curve: Curve | None = None
    command: str = ""


def head(found: Repair) -> Head:
    """The top of the page."""
    cards = [("verdict", found.verdict or "not judged"), ("weight that the source keeps", f"{found.weight:.2f}")]
    if found.change.gain is not None:
        cards.append(("points of accuracy, 95 % interval", _points(found.change.gain)))
    lead = f"{found.model}, adapted to {found.images} without labels"
    return Head("What adapting does", lead, [f"{found.reason[:1].upper()}{found.reason[1:]}.", found.advice], cards)


def story(found: Repair) -> list[Section]:
    """The same as sections of another page."""
    gain = found.change.gain
    said = f" On {found.judged} {_points(gain)} points of accuracy." if gain is not None else ""
    note = (
        f"{found.model[:1].upper()}{found.model[1:]} was adapted to {found.images} without labels.{said} {found.advice}"
    )
    first, *rest = sections(found)[:-1]
    return [Section("Repairing a bank", note, []), first, *rest]


def sections(found: Repair) -> list[Section]:
    """The rest of the page."""
    names = {"these images": found.distances, "by chance": found.chance}
    drawn = figures.by_place(
        names, "standard deviations of the source", "site, from input to output", width=figures.WIDTH
    )
    parts = [
        Section("How far the images are", SITES, [Chart("distances", drawn, "distance of each site, and chance")]),
        Section(
            f"What changes on {found.judged}",
            "With bootstrap 95 % intervals over images.",
            [Facts(_rows(found.change))],
        ),
        Section(
            "Predictions before and after",
            "Images that were not adapted to, those whose prediction changes first." if len(found.examples) else "",
            [Gallery("before → after", [Strip("", "", tuple(found.captions), found.examples).picture()])],
        ),
    ]
    if found.curve is not None:
        about = (
            f"Bands are Student's 95 % intervals over {found.curve.plan.draws} draws of images: few draws, wide bands."
        )
        chart = Chart("gain", by_images.figure(found.curve), "accuracy against the number of images")
        parts.append(Section("How many images it takes", about, [chart], found.curve.caption))
    return [*parts, Section("How this page was made", "", [Command("command", found.command)])]


def _rows(change: PredictionChange) -> list[tuple[str, str]]:
    rows = [
        ("images", f"{change.images:,}"),
        ("predictions that change", _percent(change.changed)),
        ("mean confidence before", _percent(change.confidence[0])),
        ("mean confidence after", _percent(change.confidence[1])),
    ]
    if change.accuracy is not None and change.gain is not None:
        rows += [("accuracy before", _percent(change.accuracy[0])), ("accuracy after", _percent(change.accuracy[1]))]
        rows.append(("change, paired by image", f"{_points(change.gain)} points"))
    return rows


def _percent(interval: Interval) -> str:
    value, low, high = (100 * number for number in interval)
    return f"{value:.1f} % [{low:.1f}, {high:.1f}]"


def _points(interval: Interval) -> str:
    value, low, high = (100 * number for number in interval)
    return f"{value:+.1f} [{low:+.1f}, {high:+.1f}]"
