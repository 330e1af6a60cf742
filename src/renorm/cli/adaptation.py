"""What ``renorm adapt`` tells: how far the images are from the source, whether that may be chance, what adapting changes."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from renorm.cli.console import counted

if TYPE_CHECKING:
    import torch

    from renorm.adapt import Adaptation, Evidence, Judgement
    from renorm.banks import Bank
    from renorm.cli.console import Console
    from renorm.data import Images
    from renorm.evaluate import Judged, PredictionChange
    from renorm.metrics import Interval
    from renorm.recipes import NamedModel

PIXELS = 1024 * 224**2  # of all images that are adapted to: some 10 GB within a ResNet-50


def tell_images(images: Images, named: NamedModel, console: Console) -> None:
    """Say what becomes of images, and what their labels are taken from."""
    from renorm.data import labels_in_words

    console.say(f"{counted(len(images), 'image')} of {images.name}: {named.preprocessing}", style="dim")
    labels = labels_in_words(images)
    if labels:
        console.say(labels, style="dim")
    console.found(preprocessing=str(named.preprocessing), labels=labels or None)


class Found(NamedTuple):
    """How far images are, and what follows.

    Args:
        judgement: The verdict on them.
        weight: What the source keeps.
        distances: Of each site.
        chance: Of each site.
        reference: Whether what is usual is known.
        others: Whether images are left that were not adapted to.
    """

    judgement: Judgement
    weight: float
    distances: dict[str, float]
    chance: dict[str, float]
    reference: bool
    others: bool = True


def tell_shift(adaptation: Adaptation, fixed: Evidence | None, name: str, console: Console) -> Found:
    """Show the distance of each site, whether it may be chance, the verdict, and the weight.

    Args:
        adaptation: What was done.
        fixed: What the images show, where the weight was not chosen by it.
        name: Of the images.
        console: Where to tell.
    """
    from renorm.adapt import judged
    from renorm.report import bars

    evidence, usual = adaptation.evidence or fixed, adaptation.reference
    assert evidence is not None
    judgement = judged(adaptation.foreign, evidence, usual)
    automatic = (evidence if usual is None else usual.exceeded(evidence)).weight
    gaps, noises = evidence.gap.clamp(min=0).sqrt().tolist(), evidence.noise.sqrt().tolist()
    moved, chance = (dict(zip(evidence.sites, values, strict=True)) for values in (gaps, noises))
    title = f"how far the means of {counted(evidence.samples, 'image')} are from the source's"
    console.show(bars.distances(moved, chance, title=title))
    far, expected = bars.together(gaps), bars.together(noises)
    if evidence.samples > 1:
        where = "within" if automatic == 1 and usual is None else "beyond"
        console.say(f"{where} sampling noise: {far:.3f}, where chance alone gives {expected:.3f}.")
    console.say(f"{judgement.verdict or 'not judged'}: {judgement.reason}", style="bold")
    console.say(weighed(adaptation, fixed, name, automatic))
    console.found(
        images=adaptation.samples,
        verdict=judgement.verdict,
        reason=judgement.reason,
        reference=None if usual is None else usual.described(),
        source_weight=adaptation.source_weight,
        automatic_weight=automatic,
        chosen_from_images=fixed is None,
        distance=far,
        by_chance=expected,
        sites={site: {"distance": moved[site], "by_chance": chance[site]} for site in evidence.sites},
        moved=adaptation.distance,
    )
    return Found(judgement, adaptation.source_weight, moved, chance, usual is not None)


def weighed(adaptation: Adaptation, fixed: Evidence | None, name: str, automatic: float) -> str:
    """What was done, in a sentence."""
    weight, only = adaptation.source_weight, f", {adaptation.only} only" if adaptation.only else ""
    count = f"{counted(adaptation.samples, 'image')} of {name}"
    if weight == 1:
        why = "abstained" if fixed is None else "as asked"
        return f"{why}: the source statistics are kept bit for bit, nothing was changed ({count}{only})"
    chosen = "; chosen from the images" if fixed is None else f"; auto would keep {_share(automatic)}"
    return f"adapted to {count}{only}; the source keeps a weight of {_share(weight)}{chosen}"


def _share(weight: float) -> str:
    return "more than 0.999" if 0.9995 <= weight < 1 else f"{weight:.3f}"


def judged_under_bar(
    named: NamedModel, images: Images, source: Bank, branch: str | None, console: Console, *, moved: bool = True
) -> Judged:
    """The model's outputs for images before and after, under a progress bar."""
    from renorm.evaluate import judge

    with console.progress("images") as bar:
        task = bar.add_task("what changes", total=len(images), numbers="")
        return judge(
            named.classifier, images, source, branch, moved=moved, callback=lambda done: bar.advance(task, done)
        )


def tell_change(judged: Judged, others: Images, seed: int, console: Console) -> PredictionChange:
    """Show what adapting changes, and with labels how many images more are right, with intervals.

    Args:
        judged: Outputs before and after.
        others: Images that were not adapted to; none are left where all were.
        seed: Of the intervals.
        console: Where to tell.
    """
    from renorm.evaluate import prediction_change

    labels, why = judged.labels() if len(others) else (None, "no images are left that it was not adapted to")
    found = prediction_change(judged.before, judged.after, labels, seed)
    noun = "image" if found.images == 1 else "images"
    which = f"other {noun}" if len(others) else f"{noun} adapted to"
    console.show(f"on the {found.images:,} {which}, with bootstrap 95 % intervals:")
    console.found(change={**vars(found), "adapted_to": not len(others), "no_accuracy": why or None})
    console.show(f"  predictions that change  {found.changed:.1%}")
    console.show(f"  mean confidence before   {found.confidence[0]:.1%}")
    console.show(f"  mean confidence after    {found.confidence[1]:.1%}")
    if found.accuracy is None or found.gain is None:
        console.say(f"  no accuracy: {why}", style="dim")
        return found
    style = "" if not found.gain.sure else "bold green" if found.gain.value > 0 else "bold red"
    console.say(f"  accuracy before          {found.accuracy[0]:.1%}")
    console.say(f"  accuracy after           {found.accuracy[1]:.1%}", style)
    console.say(f"  change                   {_signed(found.gain)} points, paired by image{_luck(found.gain)}")
    return found


def tell_advice(found: Found, change: PredictionChange, console: Console) -> str:
    """Say what to do, and what cannot be known without labels."""
    from renorm.adapt import advice

    gain = None if change.gain is None else (change.gain.value, change.gain.low, change.gain.high)
    said = advice(found.judgement.verdict, reference=found.reference, moved=found.weight != 1, gain=gain)
    console.say(said)
    console.found(advice=said)
    return said


def _signed(interval: Interval) -> str:
    value, low, high = (100 * number for number in interval)
    return f"{value:+.1f} [{low:+.1f}, {high:+.1f}]"


def _luck(gain: Interval) -> str:
    return "" if gain.sure else "; may be chance"


def pixels(named: NamedModel, images: Images) -> torch.Tensor:
    """All images as one input of the model.

    Raises:
        ValueError: More than can pass it at once.
    """
    most = PIXELS // images[0][0][0].numel()
    if len(images) > most:
        raise ValueError(
            f"--num-images {len(images)} would pass the model at once, as each site moves by what all of them show. At most "
            f"{most} of this size are taken. Adapt to fewer, of which more than 128 hardly say more, or measure on all by "
            f"renorm recalibrate."
        )
    return named.classifier.normalize(images.batch(range(len(images)))[0])
