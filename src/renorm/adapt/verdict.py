"""What images are to a model: at home, shifted, or prepared for another one; in words, and what to do about it."""

from __future__ import annotations

from typing import Literal, NamedTuple

from renorm.adapt.evidence import Evidence
from renorm.adapt.preparation import Foreign
from renorm.adapt.reference import Reference, distance, times_chance

Verdict = Literal["home", "shifted", "foreign"]
UNKNOWN = "How many more images are right now only labels tell: label about 50 that were not adapted to."


class Judgement(NamedTuple):
    """A verdict, ``None`` where nothing was looked at, with its reason in a sentence."""

    verdict: Verdict | None
    reason: str


def judged(foreign: Foreign | None, found: Evidence | None, reference: Reference | None) -> Judgement:
    """The verdict on images.

    Args:
        foreign: how they were prepared wrongly, if they were.
        found: how far they are from the source; ``None`` where nobody looked.
        reference: what is usual, if that is known.
    """
    if foreign is not None:
        return Judgement("foreign", foreign.reason)
    if found is None:
        return Judgement(None, "how far the images are was not measured, as the weight was given")
    count = f"{found.samples} image{'s' if found.samples > 1 else ''}"
    if found.samples == 1:
        return Judgement("shifted", "one image cannot tell a shift from chance; it is taken for a small one")
    if reference is None:
        if found.weight == 1:
            return Judgement("home", f"no farther from the source than chance puts {count}")
        times = times_chance(found)
        return Judgement("shifted", f"{times:.2g} times as far from the source as chance alone puts {count}")
    beyond = reference.exceeded(found)
    if beyond.weight == 1:
        usual = f"the {reference.home.samples} reference images"
        return Judgement("home", f"no farther from the source than {usual} and chance put {count}")
    size = distance(beyond)
    words = reference.in_words(size)
    return Judgement("shifted", f"{size:.2g} sd farther than the reference images" + (f", {words}" if words else ""))


def advice(
    verdict: Verdict | None, *, reference: bool, moved: bool, gain: tuple[float, float, float] | None = None
) -> str:
    """What to do, and what cannot be known without labels.

    Args:
        verdict: on the images.
        reference: whether what is usual is known.
        moved: whether the statistics have moved.
        gain: in accuracy, with its interval, where there are labels.
    """
    if verdict == "foreign":
        return "Prepare the images as in training and adapt again; do not keep these statistics."
    if verdict == "home" and not moved:
        return (
            "Nothing to repair here: keep the source. If the model fails all the same, the classes or the labels have changed, "
            "which no unlabelled image shows."
        )
    if not moved:
        return f"The source was kept as asked. {UNKNOWN}"
    if gain is not None:
        if gain[1] > 0:
            return "Keep the adapted statistics for images like these: more of them are right, beyond chance."
        if gain[2] < 0:
            return "Keep the source: fewer images are right with the adapted statistics, beyond chance."
        return "The labels that there are cannot tell a gain from a loss: label more images before you decide."
    if reference:
        return f"Keep the adapted statistics for images like these. {UNKNOWN}"
    return (
        "Keep the adapted statistics if these images are of a condition in which the model fails. How much of the distance is "
        f"usual, images of the normal condition tell: pass them as the reference. {UNKNOWN}"
    )
