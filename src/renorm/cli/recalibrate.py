"""``renorm recalibrate``: measure a branch's statistics again, over many images."""

from __future__ import annotations

from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING

from tyro.conf import Positional

from renorm.cli.console import counted
from renorm.cli.model import ModelOptions
from renorm.cli.options import Subcommand

if TYPE_CHECKING:
    from torch import nn

    from renorm.cli.console import Console


@dataclass(frozen=True)
class Recalibrate(Subcommand):
    """Measure the population statistics of images, for weights that have changed or another domain, and keep them.

    A generator is measured on what it makes of noise, of all its classes in turn: it takes no images.

    Args:
        model: Folder of a run, a file that renorm wrote, or a model's name (timm:NAME, torchvision:NAME, resnet20, ...).
        images: Folder of images, Parquet file or folder, or digits; labels are not used.
        skip_damaged: Leave out images that cannot be read, and say how many; all are tried first.
        split: Which part of them.
        num_images: Measure on so many, drawn with the seed; 0 for all.
        original: The model before its weights changed, a run, a file that renorm wrote or, for a model given by name, a file of
            weights: its statistics are moved by what the images show of the change, so that these need not be those of training.
        passes: 2 measures again under the result of the first.
        branch: Whose statistics, if the model has several.
        bank: Write the bank to this file.
        fold: Write the recalibrated model, plain, to this safetensors file.
        seed: Of the draw.
        source: Where a model given by name comes from.
    """

    model: Positional[str]
    images: str | None = None
    skip_damaged: bool = False
    split: str = "train"
    num_images: int = 2048
    original: Path | None = None
    passes: int = 1
    branch: str | None = None
    bank: Path | None = None
    fold: Path | None = None
    seed: int = 0
    source: ModelOptions = field(default_factory=ModelOptions)

    def run(self, console: Console) -> None:
        """Run the command."""
        from renorm.banks import Bank, recalibrate_
        from renorm.cli.written import write_folded
        from renorm.evaluate import TrainingImages
        from renorm.recipes import USUAL
        from renorm.report import bars

        if not (self.bank or self.fold):
            raise ValueError("nothing to write: the measured statistics need a place. Add --bank FILE or --fold FILE.")
        if self.source.recipe(self.model) != USUAL:
            self.of_samples(console)
            return
        if self.images is None:
            raise ValueError(
                f"nothing to measure {self.model} on: images are needed. Add --images, a folder, a Parquet file or digits."
            )
        named = self.source.open(self.model, self.common.device, tracked=True)
        branch, model = named.branch(self.branch), named.classifier.model
        images = named.images(self.images, self.split, labels=False, skip_damaged=self.skip_damaged)
        batches = TrainingImages(images, self.num_images or len(images), self.seed).batches(named.classifier)
        before = Bank.of(model, branch=branch)
        plain = self.opened_original() if self.original else None
        recalibrate_(model, batches, branch=branch, original=plain, passes=self.passes)
        after = Bank.of(model, branch=branch, affine=True)
        distances, count = before.distance(after), batches.num_images
        console.show(bars.distances(distances))
        console.say(f"measured on {counted(count, 'image')} of {images.name}")
        console.found(images=count, branch=branch, distances=distances, distance=bars.together(distances.values()))
        if self.bank:
            after.save(self.bank)
            console.done("bank", self.bank)
        if self.fold:
            write_folded(named, branch, self.fold, console)

    def opened_original(self) -> nn.Module:
        """The model before its weights changed."""
        from renorm.models import is_name

        assert self.original is not None
        if is_name(self.model):
            return replace(self.source, weights=self.original).open(self.model, self.common.device).classifier.model
        return self.source.open(str(self.original), self.common.device).classifier.model

    def of_samples(self, console: Console) -> None:
        """Measure what a run makes itself.

        Raises:
            ValueError: If its recipe makes nothing to measure on, or an option is for images.
        """
        from renorm.recipes import RECIPES, option
        from renorm.report import bars

        recipe = self.source.recipe(self.model)
        measure = RECIPES[recipe].measure
        if measure is None:
            self.source.open(self.model, self.common.device)  # which says that a classifier is needed
            return
        usual = {each.name: each.default for each in fields(self)}
        asked = ("images", "skip_damaged", "split", "original", "passes", "branch", "fold")
        if others := [name for name in asked if getattr(self, name) != usual[name]]:
            raise ValueError(
                f"{', '.join(option(name, True) for name in others)} with {self.model}, a run of the recipe {recipe!r}: it is "
                f"measured on what it makes, for a file. Leave out all but --num-images, --seed and --bank."
            )
        assert self.bank is not None
        _, opened = self.source.open_any(self.model, self.common.device)
        after = measure(opened, self.num_images, self.seed)
        before = next(iter(opened.banks().values()))
        distances = before.distance(after)
        console.show(bars.distances(distances))
        console.say(f"measured on {after.data}")
        console.found(images=after.samples, distances=distances, distance=bars.together(distances.values()))
        after.save(self.bank)
        console.done("bank", self.bank)
