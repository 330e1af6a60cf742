"""``renorm export``: a program that runs without renorm."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tyro.conf import Positional

from renorm.cli.console import done, invocation, say
from renorm.cli.source import Source

if TYPE_CHECKING:
    from torch import nn

    from renorm.evaluate import Choice
    from renorm.recipes.open import Opened

ROWS = 4  # of the batch that a file is compared on, besides a batch of 1


@dataclass(frozen=True)
class Export:
    """Write one bank of a model as a program for batches of any size: torch.export (.pt2) or ONNX (.onnx).

    Nothing of the other branches is left in it. It is opened again, by onnxruntime if it is ONNX, and compared with the model
    before it is written.

    Args:
        model: Folder of a run, a file that renorm wrote, or a model's name (timm:NAME, torchvision:NAME, resnet20, ...).
        out: File to write; its suffix says the format.
        branch: Which one, if the model has several; with a bank file, the branch to put it in.
        bank: Statistics other than a branch's own: of a view through a branch's affine (clean@BRANCH), a mixture such as
            weak:0.7+strong:0.3, or a bank file, say an adapted one.
        size: Side of the images in pixels; by default the one the model was trained on.
        normalize: Make the input normalization part of the program, so that it takes images in [0, 1].
        train: Training images, which clean@ banks are measured on; a run knows its own.
        seed: Of their draw.
        source: Where a model given by name comes from.
    """

    model: Positional[str]
    out: Path
    branch: str | None = None
    bank: str | None = None
    size: int | None = None
    normalize: bool = False
    train: str | None = None
    seed: int = 0
    source: Source = field(default_factory=Source)

    def run(self) -> None:
        """Run the command."""
        import renorm
        from renorm.export import check_name

        check_name(self.out)
        opened = self.sized(self.source.open(self.model))
        choice = self.choice(opened)
        borrowed = renorm.using(opened.subject.model, choice.bank, choice.branch) if choice.bank else nullcontext()
        with borrowed:
            about = {"model": self.model, "bank": self.bank or choice.branch or "source", "recipe": choice.recipe}
            write_exported(opened, opened.folded(choice.branch), self.out, about, normalize=self.normalize)

    def sized(self, opened: Opened) -> Opened:
        """The model with the size of its images.

        Raises:
            ValueError: If it is not known, or none.
        """
        size = opened.size if self.size is None else self.size
        if size is None or size < 1:
            what = "no size is known" if size is None else f"{size} is no size"
            raise ValueError(
                f"{what} for images of {self.model}: a side in pixels is needed. Add --size, say --size 224."
            )
        return replace(opened, size=size)

    def choice(self, opened: Opened) -> Choice:
        """The bank that is exported.

        Raises:
            ValueError: If it is unknown, if there are several to choose from, or if it is another branch's.
        """
        from renorm.evaluate import Choice

        if self.train is not None and "@" not in (self.bank or ""):
            raise ValueError(
                f"--train {self.train} with the bank {self.bank or 'of a branch'}: it is not measured on training "
                "images. Leave it out, or name a bank that is measured, as --bank clean@BRANCH."
            )
        if self.bank is None:
            return Choice(opened.branch(self.branch), recipe="of the model")
        if self.bank.endswith(".safetensors"):
            return self.from_file(opened, self.bank)
        choice = self.chosen(opened, self.bank)
        if self.branch not in (None, choice.branch):
            raise ValueError(
                f"--branch {opened.branch(self.branch)} with --bank {self.bank}, which uses the affine of {choice.branch}: "
                "only a bank file needs a branch to be put in. Leave --branch out."
            )
        return choice

    def from_file(self, opened: Opened, path: str) -> Choice:
        """The bank of a file, for the branch that is named, else the one it was measured through."""
        import renorm

        own = renorm.Bank.load(path).branch
        branch = opened.branch(self.branch or (own if own in opened.branches else None))
        return replace(self.chosen(opened, path), branch=branch)

    def chosen(self, opened: Opened, name: str) -> Choice:
        """A bank by its name, as ``renorm evaluate`` takes it."""
        from renorm.cli.evaluate import views
        from renorm.evaluate import TrainingImages, choose
        from renorm.recipes.classify import read

        train = opened.images(self.train, "train") if self.train else None
        if train is None and "@" in name and opened.about:
            train, _ = read(opened.config)
        training = TrainingImages(train, seed=self.seed, make_view=views(opened, train) if train else None)
        return choose(opened.subject, [name], opened.branches, training)[name]


def write_exported(
    opened: Opened, plain: nn.Module, path: Path, about: dict[str, Any], *, normalize: bool = False
) -> None:
    """Write a plain model with all that is needed to use it."""
    import torch

    from renorm.export import Normalized, write

    subject, size = opened.subject, opened.size or 32
    pixels = torch.rand(ROWS, 3, size, size, generator=torch.Generator().manual_seed(0))
    model = Normalized(plain, subject.mean, subject.std) if normalize else plain
    takes = "RGB in [0, 1]" if normalize else "(RGB in [0, 1] - mean) / std"
    described = {
        **about,
        "classes": list(opened.classes),
        "input": takes,
        "shape": ["batch", 3, size, size],
        "mean": list(subject.mean),
        "std": list(subject.std),
        "command": invocation(),
    }
    exported = write(model, path, pixels if normalize else subject.normalize(pixels), about=described)
    done("exported model", repr(exported))
    say(f"  takes float32 images (batch, 3, {size}, {size}): {takes}", style="dim")
