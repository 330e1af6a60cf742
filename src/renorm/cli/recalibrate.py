"""``renorm recalibrate``: measure a branch's statistics again, over many images."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from tyro.conf import Positional

from renorm.cli.console import counted
from renorm.cli.model import ModelOptions
from renorm.cli.options import Subcommand

if TYPE_CHECKING:
    from renorm.cli.console import Console


@dataclass(frozen=True)
class Recalibrate(Subcommand):
    """Measure the population statistics of images, for weights that have changed or another domain, and keep them.

    Args:
        model: Folder of a run, a file that renorm wrote, or a model's name (timm:NAME, torchvision:NAME, resnet20, ...).
        images: Folder of images, Parquet file or folder, or digits; labels are not used.
        skip_damaged: Leave out images that cannot be read, and say how many; all are tried first.
        split: Which part of them.
        num_images: Measure on so many, drawn with the seed; 0 for all.
        passes: 2 measures again under the result of the first.
        branch: Whose statistics, if the model has several.
        bank: Write the bank to this file.
        fold: Write the recalibrated model, plain, to this safetensors file.
        seed: Of the draw.
        source: Where a model given by name comes from.
    """

    model: Positional[str]
    images: str
    skip_damaged: bool = False
    split: str = "train"
    num_images: int = 2048
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
        from renorm.report import bars

        if not (self.bank or self.fold):
            raise ValueError("nothing to write: the measured statistics need a place. Add --bank FILE or --fold FILE.")
        named = self.source.open(self.model, self.common.device, tracked=True)
        branch, model = named.branch(self.branch), named.classifier.model
        images = named.images(self.images, self.split, labels=False, skip_damaged=self.skip_damaged)
        batches = TrainingImages(images, self.num_images or len(images), self.seed).batches(named.classifier)
        before = Bank.of(model, branch=branch)
        recalibrate_(model, batches, branch=branch, passes=self.passes)
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
