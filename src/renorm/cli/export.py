"""``renorm export``: a program that runs without renorm."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from tyro.conf import Positional

from renorm.cli.model import ModelOptions
from renorm.cli.options import Subcommand

if TYPE_CHECKING:
    from renorm.cli.console import Console
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
        from renorm.recipes.classify import exported_choice

        check_name(self.out)
        named = self.sized(self.source.open(self.model, self.common.device))
        choice = exported_choice(named, self.bank, self.branch, self.train, self.seed)
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
