"""``renorm export``: a program that runs without renorm."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from tyro.conf import Positional

from renorm.cli.model import ModelOptions
from renorm.cli.options import Subcommand
from renorm.recipes import Exporting

if TYPE_CHECKING:
    from renorm.cli.console import Console


@dataclass(frozen=True)
class Export(Subcommand):
    """Write one bank of a model as a program for batches of any size: torch.export (.pt2) or ONNX (.onnx).

    Nothing of the other branches is left in it. It is opened again, by onnxruntime if it is ONNX, and compared with the model
    before it is written.

    Args:
        model: Folder of a run, a file that renorm wrote, or a model's name (timm:NAME, torchvision:NAME, resnet20, ...).
        out: File to write; its suffix says the format.
        asked: What of it.
        source: Where a model given by name comes from.
    """

    model: Positional[str]
    out: Path
    asked: Exporting = field(default_factory=Exporting)
    source: ModelOptions = field(default_factory=ModelOptions)

    def run(self, console: Console) -> None:
        """Run the command."""
        from renorm.cli.written import tell_exported
        from renorm.export import check_name
        from renorm.recipes import export_opened

        check_name(self.out)
        recipe, opened = self.source.open_any(self.model, self.common.device)
        about = {"model": self.model, "command": console.invocation}
        tell_exported(export_opened(recipe, opened, self.out, self.asked, **about), console)
