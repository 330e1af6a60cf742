"""``renorm predict``: what a classifier calls images."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from tyro.conf import Positional

from renorm.cli.console import counted
from renorm.cli.model import ModelOptions
from renorm.cli.options import Subcommand

if TYPE_CHECKING:
    from renorm.cli.console import Console

SHOWN = 5


@dataclass(frozen=True)
class Predict(Subcommand):
    """Write the class that a model predicts for each image, and its probability.

    Args:
        model: Folder of a run, a file that renorm wrote, or a model's name (timm:NAME, torchvision:NAME, resnet20, ...).
        images: Folder of images, Parquet file or folder, or digits; of any size. Labels are not used.
        out: The table, .csv or .parquet, with the columns path, class, confidence.
        skip_damaged: Leave out images that cannot be read, and say how many; all are tried first.
        branch: Whose statistics and affine to use, if the model has several.
        bank: Statistics to use in place of the model's own, .safetensors, as renorm adapt and renorm recalibrate write them.
        source: Where a model given by name comes from.
    """

    model: Positional[str]
    images: str
    out: Path
    skip_damaged: bool = False
    branch: str | None = None
    bank: Path | None = None
    source: ModelOptions = field(default_factory=ModelOptions)

    def run(self, console: Console) -> None:
        """Run the command."""
        from renorm.banks import Bank, Choice
        from renorm.cli.targets import check_place
        from renorm.evaluate import check_labelled, label_images

        check_labelled(self.out)
        check_place("out", self.out)
        named = self.source.open(self.model, self.common.device)
        bank = None if self.bank is None else Bank.load(self.bank)
        images = named.images(self.images, labels=False, skip_damaged=self.skip_damaged)
        console.say(f"{counted(len(images), 'image')} of {images.name}: {named.preprocessing}", style="dim")
        found = label_images(named.classifier, images, Choice(named.branch(self.branch), bank))
        usual = Counter(found.classes).most_common()
        more = f", and others of {len(usual) - SHOWN} more" if len(usual) > SHOWN else ""
        console.say(", ".join(f"{number} {name}" for name, number in usual[:SHOWN]) + more)
        sure = sum(found.confidences) / len(found.confidences)
        console.say(f"mean confidence {sure:.3f}")
        console.found(images=len(images), classes=dict(usual), mean_confidence=sure)
        console.done("predictions", found.write(self.out))
