"""``renorm evaluate``: the table bank x shift."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from tyro.conf import Positional

from renorm.cli.model import ModelOptions
from renorm.cli.options import Subcommand
from renorm.recipes import Evaluation

if TYPE_CHECKING:
    from renorm.cli.console import Console


@dataclass(frozen=True)
class Evaluate(Subcommand):
    """Evaluate every bank of a model under every shift: accuracy with 95 % intervals, likelihood, calibration.

    The table is written shift by shift: after a stop, the same command goes on where it was, and further banks or shifts are
    added to it. A table that was made otherwise is kept under another name. Under torchrun the processes share the shifts.

    Args:
        model: Folder of a run, a file that renorm wrote, or a model's name (timm:NAME, torchvision:NAME, resnet20, ...).
        asked: What to evaluate.
        out: Where to write the table, a .csv; by default results.csv of the run.
        source: Where a model given by name comes from.
    """

    model: Positional[str]
    asked: Evaluation = field(default_factory=Evaluation)
    out: Path | None = None
    source: ModelOptions = field(default_factory=ModelOptions)

    def run(self, console: Console) -> None:
        """Run the command, in every process that torchrun started."""
        from renorm.cli.evaluation import Place, evaluated
        from renorm.evaluate import check_table_name, ranks
        from renorm.recipes import prepare_table
        from renorm.train import join

        if self.out is not None:
            check_table_name(self.out)
        self.asked.check()
        processes = join(self.common.device)
        if not processes.main:
            console.leave_to_others()
        try:
            weights = f" {self.source.weights}" if self.source.weights else ""
            device = str(processes.device) if processes.count > 1 else self.common.device
            recipe, opened = self.source.open_any(self.model, device)
            about = {"model": f"{self.model}{weights}", "command": console.invocation}
            prepared = prepare_table(recipe, opened, self.asked, **about)
            evaluated(prepared, Place(self.model, self.out), console, ranks.meet() if processes.count > 1 else None)
        finally:
            processes.leave()
