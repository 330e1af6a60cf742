"""``renorm report``: the page of a run."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from tyro.conf import Positional

from renorm.cli.console import console, done


@dataclass(frozen=True)
class Report:
    """Write report.html of a run from its files, and show the table; it needs no network to be read.

    Args:
        path: Folder of the run.
        table: Whether to show the table here as well.
    """

    path: Positional[Path]
    table: bool = True

    def run(self) -> None:
        """Run the command."""
        from renorm.evaluate import read_results
        from renorm.files import write_atomically
        from renorm.recipes.run import Run
        from renorm.report import page, tables

        run = Run(self.path)
        config, rows = run.config(), read_results(run.results).rows
        if self.table:
            console.print(tables.results(rows, f"{self.path}: bank x shift"))
        write_atomically(run.report, page.page(config, rows, run.history()).encode())
        done("report", run.report)
