"""``renorm export``: a program that runs without renorm."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from tyro.conf import Positional

from renorm.cli.model import ModelOptions
from renorm.cli.options import Subcommand

if TYPE_CHECKING:
    from renorm.cli.console import Console
    from renorm.evaluate import Choice
    from renorm.recipes import NamedModel


@dataclass(frozen=True)
class Export(Subcommand):
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
    source: ModelOptions = field(default_factory=ModelOptions)

    def run(self, console: Console) -> None:
        """Run the command."""
        from renorm.banks import using
        from renorm.cli.written import write_exported
        from renorm.export import check_name

        check_name(self.out)
        named = self.sized(self.source.open(self.model, self.common.device))
        choice = self.choice(named)
        bank = choice.bank and choice.bank.check_complete()
        borrowed = using(named.classifier.model, bank, choice.branch) if bank else nullcontext()
        with borrowed:
            about = {"model": self.model, "bank": self.bank or choice.branch or "source", "made": choice.made}
            plain = named.classifier.folded(choice.branch)
            write_exported(named, plain, self.out, about, console, normalize=self.normalize)

    def sized(self, named: NamedModel) -> NamedModel:
        """The model with the size of its images.

        Raises:
            ValueError: If it is not known, or none.
        """
        size = named.classifier.size if self.size is None else self.size
        if size is None or size < 1:
            what = "no size is known" if size is None else f"{size} is no size"
            raise ValueError(
                f"{what} for images of {self.model}: a side in pixels is needed. Add --size, say --size 224."
            )
        return named.of_size(size)

    def choice(self, named: NamedModel) -> Choice:
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
            return Choice(named.branch(self.branch), made="of the model")
        if self.bank.endswith(".safetensors"):
            return self.from_file(named, self.bank)
        choice = self.chosen(named, self.bank)
        if self.branch not in (None, choice.branch):
            raise ValueError(
                f"--branch {named.branch(self.branch)} with --bank {self.bank}, which uses the affine of {choice.branch}: "
                "only a bank file needs a branch to be put in. Leave --branch out."
            )
        return choice

    def from_file(self, named: NamedModel, path: str) -> Choice:
        """The bank of a file, for the branch that is named, else the one it was measured through."""
        from renorm.banks import Bank

        own = Bank.load(path).branch
        branch = named.branch(self.branch or (own if own in named.classifier.branches else None))
        return replace(self.chosen(named, path), branch=branch)

    def chosen(self, named: NamedModel, name: str) -> Choice:
        """A bank by its name, as ``renorm evaluate`` takes it."""
        from renorm.evaluate import TrainingImages, choose
        from renorm.recipes.classify import read, views_of

        train = named.images(self.train, "train") if self.train else None
        if train is None and "@" in name and named.about:
            train, _ = read(named.config)
        training = TrainingImages(train, seed=self.seed, make_view=views_of(named, train) if train else None)
        return choose(named.classifier, [name], named.classifier.branches, training)[name]
