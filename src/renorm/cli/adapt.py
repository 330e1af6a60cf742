"""``renorm adapt``: move a model's statistics towards a few unlabelled images."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from tyro.conf import Positional

from renorm.cli.console import console, done, say
from renorm.cli.source import Source

if TYPE_CHECKING:
    import torch

    import renorm
    from renorm.data import Images
    from renorm.recipes.opened import Opened


@dataclass(frozen=True)
class Adapt:
    """Adapt a model to a few unlabelled images: one forward, no training; then keep the bank or a folded model.

    Args:
        model: Folder of a run, a file that renorm wrote, or a model's name (timm:NAME, torchvision:NAME, resnet20, ...).
        images: Folder of images, Parquet file or folder, or digits. With labels, accuracy before and after is measured on
            the images that were not adapted to.
        num_images: Adapt to so many of them, drawn with the seed.
        prior: How many images the source statistics count for: 0 replaces them, inf keeps them.
        branch: Whose statistics to adapt, if the model has several.
        bank: Write the adapted bank to this file.
        fold: Write the adapted model, plain, to this safetensors file.
        seed: Of the draw and the intervals.
        source: Where a model given by name comes from.
    """

    model: Positional[str]
    images: str
    num_images: int = 32
    prior: float = 64
    branch: str | None = None
    bank: Path | None = None
    fold: Path | None = None
    seed: int = 0
    source: Source = field(default_factory=Source)

    def run(self) -> None:
        """Run the command."""
        import renorm
        from renorm.cli.fold import write_folded
        from renorm.report import tables

        opened = self.source.open(self.model)
        branch = opened.branch(self.branch)
        few, rest = divided(opened.images(self.images), self.num_images, self.seed)
        before = outputs(opened, rest, branch)
        adaptation = renorm.adapt_(opened.subject.model, pixels(opened, few), prior=self.prior, branch=branch)
        console.print(tables.distances(adaptation.distance))
        say(f"adapted to {len(few)} images of {few.name}; the source keeps a weight of {adaptation.source_weight:.3f}")
        compare(before, outputs(opened, rest, branch), rest, self.seed)
        if self.bank:
            renorm.Bank.of(opened.subject.model, branch=branch, affine=True).save(self.bank)
            done("adapted bank", self.bank)
        if self.fold:
            write_folded(opened, branch, self.fold)


def divided(images: Images, num: int, seed: int) -> tuple[Images, Images]:
    """So many images to adapt to, drawn with a seed, and the rest."""
    import torch

    if not 1 <= num <= len(images):
        raise ValueError(
            f"--num-images {num} of {len(images)} images in {images.name}: 1 to {len(images)} is needed. Change it."
        )
    order = torch.randperm(len(images), generator=torch.Generator().manual_seed(seed))
    return images.subset(order[:num]), images.subset(order[num:])


def pixels(opened: Opened, images: Images) -> torch.Tensor:
    """All images as one input of the model."""
    return opened.subject.normalize(images.batch(range(len(images)))[0])


def outputs(opened: Opened, images: Images, branch: str | None) -> torch.Tensor | None:
    """Logits of labelled images, or nothing where there are no labels to compare with."""
    from renorm.evaluate import Choice, logits

    if not len(images) or int(images.labels.min()) < 0:
        return None
    return logits(opened.subject, images, {"it": Choice(branch)})["it"]


def compare(before: torch.Tensor | None, after: torch.Tensor | None, images: Images, seed: int) -> None:
    """Say what adapting did to the accuracy, or why that is not known."""
    from renorm import metrics

    if before is None or after is None:
        say("no labelled images are left to measure accuracy on", style="dim")
        return
    if before.shape[1] != len(images.classes):
        say(f"no accuracy: {before.shape[1]} outputs, {len(images.classes)} classes in {images.name}", style="dim")
        return
    old, new = (metrics.correct(output, images.labels).double() for output in (before, after))

    def interval(values: torch.Tensor) -> metrics.Interval:
        return metrics.bootstrap(values, seed)

    console.print(f"accuracy on the other {len(images):,} images, with bootstrap 95 % intervals:")
    console.print(f"  before  [yellow]{interval(old):.1%}[/]")
    console.print(f"  after   [bold green]{interval(new):.1%}[/]")
    console.print(f"  change  {_signed(interval(new - old))} points", highlight=False)


def _signed(interval: renorm.metrics.Interval) -> str:
    value, low, high = (100 * number for number in interval)
    return f"{value:+.1f} [{low:+.1f}, {high:+.1f}]"
