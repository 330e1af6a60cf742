"""``renorm adapt``: move a model's statistics towards a few unlabelled images."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from tyro.conf import Positional

from renorm.cli.adaptation import judged_under_bar, pixels, tell_advice, tell_change, tell_images, tell_shift
from renorm.cli.curve import Drawing, draw
from renorm.cli.model import ModelOptions
from renorm.cli.options import Subcommand
from renorm.cli.targets import check_place, check_targets
from renorm.recipes import changed

if TYPE_CHECKING:
    from renorm.adapt import Adaptation
    from renorm.cli.console import Console
    from renorm.data import Images
    from renorm.recipes import NamedModel

SUFFIXES = {
    "bank": ".safetensors",
    "fold": ".safetensors",
    "onnx": ".onnx",
    "program": ".pt2",
    "out": ".png",
    "report": ".html",
}


@dataclass(frozen=True)
class Adapt(Subcommand):
    """Adapt a model to a few unlabelled images: two forwards, no training. Keep a bank, a plain model, ONNX.

    Shows how far the images are from the source, the statistics of the training images, at each site and whether that may be
    chance, and what adapting changes on the images that it did not see; the last line says what to do. With --curve it draws
    accuracy against the number of images instead.

    Args:
        model: Folder of a run, a file that renorm wrote, or a model's name (timm:NAME, torchvision:NAME, resnet20, ...).
        images: Folder of images, Parquet file or folder, or digits; of any size. With labels, accuracy before and after is
            measured on the images that were not adapted to.
        labels: Take subfolders or a column for classes; without, all images are read, however deep they lie.
        skip_damaged: Leave out images that cannot be read, and say how many; all are tried first.
        num_images: Adapt to so many of them, drawn with the seed; by default 32, or all if there are fewer;
            all pass the model at once.
        prior: How many images the source statistics count for: 0 replaces them, inf keeps them. auto, the default, reads it off
            the images, and keeps the source where what they show may be chance.
        weight: The source's weight, from 0 to 1, however many images there are; in place of a prior.
        only: Move the mean or the variance alone.
        branch: Whose statistics to adapt, if the model has several.
        reference: Images of the normal condition, as --images, or a bank file that keeps a reference: how far the model's images
            are usually. Then only what exceeds that is a shift, and its size is told in known corruptions; --bank keeps it.
        foreign: What to do with images that look prepared for another model: raise refuses them, adapt takes them all the same.
        num_judged: See what changes on at most so many of the other images, drawn with the seed; 0 for all.
        bank: Write the adapted bank to this file, .safetensors.
        fold: Write the adapted model, plain, to this file, .safetensors.
        onnx: Write the adapted model as ONNX, compared with the model itself; .onnx.
        program: Write it as a torch.export program, compared likewise; .pt2.
        report: Write a page of what was found to this file, .html.
        seed: Of the draw and the intervals.
        curve: Draw accuracy against the number of images for several methods; the images need labels.
        drawing: What is drawn.
        source: Where a model given by name comes from.
    """

    model: Positional[str]
    images: str
    labels: bool = True
    skip_damaged: bool = False
    num_images: int | None = None
    prior: float | Literal["auto"] | None = None
    weight: float | None = None
    only: Literal["mean", "variance"] | None = None
    branch: str | None = None
    reference: str | None = None
    foreign: Literal["raise", "adapt"] = "raise"
    num_judged: int = 1000
    bank: Path | None = None
    fold: Path | None = None
    onnx: Path | None = None
    program: Path | None = None
    report: Path | None = None
    seed: int = 0
    curve: bool = False
    drawing: Drawing = field(default_factory=Drawing)
    source: ModelOptions = field(default_factory=ModelOptions)

    def run(self, console: Console) -> None:
        """Run the command."""
        from renorm.banks import site_tensors
        from renorm.data import tell_order
        from renorm.evaluate import divide

        self.check()
        named = self.source.open(self.model, self.common.device, tracked=True)
        branch = named.branch(self.branch)
        site_tensors(named.classifier.model, branch)  # says at once that there is nothing to move
        images = named.images(self.images, labels=self.labels, skip_damaged=self.skip_damaged)
        tell_images(images, named, console)
        if self.curve:
            from renorm.recipes.classify import prepare_curve

            name = f"{self.model} {self.source.weights}" if self.source.weights else self.model
            asked = self.drawing.options(self.num_judged, self.seed)
            prepared = prepare_curve(named, images, asked, branch, model=name, command=console.invocation)
            draw(prepared, self.drawing.path(self.model), console)
            return
        tell_order(images, named.classifier.classes)
        few, rest = divide(images, self.num_images, self.seed)
        adaptation = self.adapt(named, few, rest, branch, console)
        sized = named if named.classifier.size else named.of_size(few[0][0].shape[-1])
        self.write(sized, branch, adaptation, f"{few.name}: {adaptation!r}", console)

    def adapt(self, named: NamedModel, few: Images, rest: Images, branch: str | None, console: Console) -> Adaptation:
        """Adapt the model, and tell what was found and what changes."""
        from renorm.adapt import adapt_, evidence
        from renorm.banks import Bank, site_tensors, using
        from renorm.cli.adapted import gain_by_images, reference_at, told, write_adapted
        from renorm.data import sample

        model, x = named.classifier.model, pixels(named, few)
        source, automatic = Bank.of(model, branch=branch), self.prior in (None, "auto") and self.weight is None
        usual = reference_at(self.reference, named, branch, self.seed) if self.reference else None
        fixed = None if automatic else evidence(model, x, site_tensors(model, branch), branch, len(few))
        prior = "auto" if automatic else self.prior
        options = {"weight": self.weight, "only": self.only, "reference": usual, "foreign": self.foreign}
        adaptation = adapt_(model, x, prior, branch, **options)
        found = tell_shift(adaptation, fixed, few.name, console)._replace(others=len(rest) > 0)
        seen = sample(rest, self.num_judged, self.seed) if 0 < self.num_judged < len(rest) else rest
        moved = adaptation.source_weight != 1
        judged = judged_under_bar(named, seen if len(seen) else few, source, branch, console, moved=moved)
        change = tell_change(judged, seen, self.seed, console)
        advice = tell_advice(found, change, console)
        if self.report:
            name = f"{self.model} {self.source.weights or ''}".strip()
            shown = replace(told(name, few, found, change, judged, advice), command=console.invocation)
            if change.accuracy is not None:
                with using(model, source, branch):
                    shown = replace(shown, curve=gain_by_images(named, rest, branch, self.seed, console))
            write_adapted(self.report, shown, console)
        return adaptation

    def check(self) -> None:
        """Refuse at once what would otherwise be found at the end, and options that would do nothing."""
        if self.prior is not None and self.weight is not None:
            raise ValueError(
                f"--prior {self.prior} and --weight {self.weight}: one of them says how much the source keeps, a prior by the "
                "number of images and a weight whatever their number. Leave one out."
            )
        if self.num_judged < 0:
            raise ValueError(f"--num-judged {self.num_judged}: 0 for all images or more is needed. Change it.")
        names = ("num_images", "prior", "weight", "only", "reference", "bank", "fold", "onnx", "program", "report")
        given = [f"--{name.replace('_', '-')}" for name in names if getattr(self, name) is not None]
        if self.curve and given:
            raise ValueError(
                f"{', '.join(given)} with --curve, which adapts in many ways and keeps none: --methods and --sizes say which. "
                f"Leave {'it' if len(given) == 1 else 'them'} out, or --curve."
            )
        if not self.curve and self.drawing != Drawing():
            raise ValueError(f"{changed(self.drawing)} without --curve: it says what a curve shows. Add --curve.")
        check_targets({name: getattr(self, name) for name in ("bank", "fold", "onnx", "program", "report")}, SUFFIXES)
        if self.curve:
            path = self.drawing.path(self.model)
            check_targets({"out": path}, SUFFIXES)
            check_place("out", path.with_suffix(".csv"))
        if self.onnx:
            from renorm.export import check_name

            check_name(self.onnx)  # its libraries

    def write(
        self, named: NamedModel, branch: str | None, adaptation: Adaptation, recipe: str, console: Console
    ) -> None:
        """Write the files that were asked for."""
        from renorm.banks import Bank
        from renorm.cli.written import write_exported, write_folded

        if self.bank:
            bank = replace(Bank.of(named.classifier.model, branch=branch, affine=True), data=recipe)
            (bank if adaptation.reference is None else adaptation.reference.kept_in(bank)).save(self.bank)
            console.done("adapted bank", self.bank)
        if self.fold:
            write_folded(named, branch, self.fold, console)
        exports = [path for path in (self.onnx, self.program) if path]
        plain = named.classifier.folded(branch) if exports else None
        for path in exports:
            assert plain is not None
            about = {"model": self.model, "bank": f"adapted {branch or 'source'}", "recipe": recipe}
            write_exported(named, plain, path, about, console)
