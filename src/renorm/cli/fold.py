"""``renorm fold``: a plain model out of one branch."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from tyro.conf import Positional

from renorm.cli.model import ModelOptions
from renorm.cli.options import Subcommand

if TYPE_CHECKING:
    from renorm.cli.console import Console


@dataclass(frozen=True)
class Fold(Subcommand):
    """Write one branch as the plain model it is equal to: plain layers, plain keys; the equality is checked.

    Args:
        model: Folder of a run, or a file that renorm wrote.
        out: Safetensors file to write.
        branch: Which one.
        bank: Bank file to put into the branch first.
        source: Where a model given by name comes from.
    """

    model: Positional[str]
    out: Path
    branch: str | None = None
    bank: Path | None = None
    source: ModelOptions = field(default_factory=ModelOptions)

    def run(self, console: Console) -> None:
        """Run the command."""
        from renorm.banks import Bank, install_
        from renorm.cli.written import write_folded

        named = self.source.open(self.model, self.common.device)
        branch = named.branch(self.branch)
        if self.bank:
            install_(named.classifier.model, Bank.load(self.bank).check_complete(), branch=branch)
        write_folded(named, branch, self.out, console)
