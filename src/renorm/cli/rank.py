"""``renorm rank``: how well shared weights order cells."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from tyro.conf import Positional

from renorm.cli.options import Subcommand
from renorm.recipes.search import RankOptions

if TYPE_CHECKING:
    from renorm.cli.console import Console


@dataclass(frozen=True)
class Rank(Subcommand):
    """Evaluate cells by the weights that a search of single paths shares among them, and compare their order with the table's.

    Kendall's tau-b and Spearman's rho have 95 % intervals over cells, over all of them and the better third. Nothing of the
    network moves, and the order in which cells are evaluated does not matter.

    Args:
        run_folder: Folder of a run of renorm search --method paths.
        options: Which cells, by what, on how many images.
        out: Where to write the table, a .csv; by default results.csv of the run.
    """

    run_folder: Positional[Path]
    options: RankOptions = field(default_factory=RankOptions)
    out: Path | None = None

    def run(self, console: Console) -> None:
        """Run the command."""
        from renorm.cli.evaluation import Place, evaluated
        from renorm.evaluate import check_table_name
        from renorm.recipes.search import accuracies, first_cells, open_run, prepare_ranking

        if self.out is not None:
            check_table_name(self.out)
        opened = open_run(self.run_folder, self.common.device)
        about = {"model": str(self.run_folder), "command": console.invocation}
        prepared = prepare_ranking(opened, self.options, **about)
        results = evaluated(prepared, Place(str(self.run_folder), self.out), console)
        first = {bank: str(cell) for bank, cell in first_cells(accuracies(results), self.options.seed).items()}
        for bank, cell in first.items():
            console.log(f"first by {bank}: {cell}")
        console.found(first=first)
