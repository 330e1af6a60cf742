"""The page of ``renorm adapt``, and the reference that it compares with."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from renorm.cli.console import counted
from renorm.cli.pages import write_page

if TYPE_CHECKING:
    from renorm.adapt import Reference
    from renorm.banks import Bank
    from renorm.cli.adaptation import Found
    from renorm.cli.console import Console
    from renorm.data import Images
    from renorm.evaluate import Curve, Judged, PredictionChange
    from renorm.recipes import NamedModel
    from renorm.report.sections import adapted

EXAMPLES = 8
SIZES, DRAWS, JUDGED = (4, 16, 64), 3, 200  # of the page's small curve


def reference_at(path: str, named: NamedModel, branch: str | None, seed: int) -> Reference | Bank:
    """What ``--reference`` names: a bank that keeps one, or images to measure it on."""
    from renorm.banks import Bank
    from renorm.evaluate import reference_of

    if Path(path).suffix == ".safetensors":
        return Bank.load(path)
    return reference_of(named.classifier, named.images(path), branch, seed)


def gain_by_images(named: NamedModel, images: Images, branch: str | None, seed: int, console: Console) -> Curve | None:
    """Accuracy against the number of images, where there are enough with labels."""
    from renorm.evaluate import make_curve
    from renorm.recipes.classify import CurveOptions, prepare_curve

    sizes = [size for size in SIZES if size <= len(images) - min(JUDGED, len(images) // 2)]
    if not sizes:
        return None
    asked = CurveOptions(("auto",), sizes, DRAWS, num_judged=JUDGED, seed=seed)
    found = prepare_curve(named, images, asked, branch, command=console.invocation)
    return make_curve(named.classifier, found.images, found.shifts, found.plan, found.protocol, branch=branch)


def told(
    model: str, few: Images, found: Found, change: PredictionChange, judged: Judged, advice: str
) -> adapted.Repair:
    """What a page shows, its curve left out."""
    import torch

    from renorm.report.sections import adapted

    before, after = judged.before.argmax(1), judged.after.argmax(1)
    rows = torch.argsort((before == after).long(), stable=True)[:EXAMPLES]
    labels, _ = judged.labels()

    def name(k: int) -> str:
        return judged.classes[k] if judged.classes else str(k)

    captions = []
    for i in rows.tolist():
        truth = "" if labels is None else f" ({name(int(labels[i]))})"
        captions.append(f"{name(int(before[i]))} → {name(int(after[i]))}{truth}")
    which = f"{counted(change.images, 'image')} that {'were not ' if found.others else 'were '}adapted to"
    return adapted.Repair(
        model,
        f"{counted(len(few), 'image')} of {few.name}",
        found.judgement.verdict or "",
        found.judgement.reason,
        advice,
        found.weight,
        found.distances,
        found.chance,
        change,
        which,
        judged.images.batch(rows)[0],
        captions,
    )


def write_adapted(path: Path, found: adapted.Repair, console: Console) -> None:
    """Write the page."""
    from renorm.report.sections import adapted

    write_page(path, adapted.head(found), adapted.sections(found), console)
