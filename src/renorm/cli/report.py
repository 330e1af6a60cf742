"""``renorm report``: the page of a run, or of several side by side."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from tyro.conf import Positional

from renorm.cli.options import Subcommand

if TYPE_CHECKING:
    from renorm.cli.console import Console
    from renorm.metrics import Interval
    from renorm.report import Grid, Section


@dataclass(frozen=True)
class Report(Subcommand):
    """Write the page of a run from its files, or of several runs side by side, and show the table or the differences.

    A page is one file that needs no network. Runs that differ by their seed only are averaged, and pairs of equal seeds
    compared; single runs are paired image by image. Unlike tables are refused.

    Args:
        runs: Folder of the run, or of each run; the first is what others are compared with.
        out: Page to write; by default report.html of the run. Several runs need it.
        png: Also draw each figure for a paper, as PNG files in this folder.
        banks: Of several runs the bank of each side, or one for all, to compare; by default all banks that all have, else the
            first of each.
        data: Where the images of the table are, if they are elsewhere now; for the examples.
        gradients: Also show how long each branch's gradient is in every layer, and how far branches agree, as a mean over so
            many training steps with the final weights; this reads the training images. 0 leaves it out.
        table: Whether to show the table here as well.
    """

    runs: Positional[tuple[Path, ...]]
    out: Path | None = None
    png: Path | None = None
    banks: tuple[str, ...] = ()
    data: str | None = None
    gradients: int = 0
    table: bool = True

    @property
    def computes(self) -> bool:
        """Whether a model runs."""
        return self.gradients > 0

    def run(self, console: Console) -> None:
        """Run the command."""
        self.check()
        if len(self.runs) == 1:
            self.one(self.runs[0], console)
        else:
            self.several(console)

    def check(self) -> None:
        """Refuse options that would do nothing.

        Raises:
            ValueError: If a number is negative, there is no run or no place for a page of several, or an option is for the
                other kind of page.
        """
        if self.gradients < 0:
            raise ValueError(f"--gradients {self.gradients}: a number of steps is needed. Try 4, or 0 for none.")
        if not self.runs:
            raise ValueError(
                "no run given: a page needs the folder of one or more. Name one, as in renorm report runs/digits."
            )
        if len(self.runs) > 1 and self.out is None:
            raise ValueError(f"{len(self.runs)} runs and no place for their page: it needs one. Add --out page.html.")
        if len(self.runs) > 1 and self.data is not None:
            raise ValueError(
                "--data with several runs: examples are on the page of a single one. Leave it out, or report one run."
            )
        if len(self.runs) == 1 and self.banks:
            raise ValueError(
                "--banks with a single run: its page shows all of them. Leave it out, or name the runs to compare it with."
            )

    def one(self, path: Path, console: Console) -> None:
        """The page of a run."""
        from renorm.cli.pages import write_page
        from renorm.recipes import page_of_run
        from renorm.report import terminal
        from renorm.train import Run

        record, head, sections = page_of_run(path, self.data, self.asked({"": path}))
        console.found(rows=record.results.rows)
        if self.table:
            console.show(terminal.results(record.results, str(path)))
        write_page(self.out or Run(path).report, head, sections, console, self.png)

    def several(self, console: Console) -> None:
        """The page of several runs."""
        from renorm.cli.pages import write_page
        from renorm.recipes import read_records
        from renorm.report import distinct_names, sides, versus
        from renorm.report.sections import several

        assert self.out is not None
        found = versus(sides(read_records(self.runs)), self.banks)
        console.found(findings=found.findings(), accuracies=by_name(found.accuracies), changes=by_name(found.changes))
        for text in found.findings() if self.table else ():
            console.say(text)
        more = self.asked(dict(zip(distinct_names([path.resolve() for path in self.runs]), self.runs, strict=True)))
        sections = several.sections(found, console.invocation, more)
        write_page(self.out, several.head(found), sections, console, self.png)

    def asked(self, runs: dict[str, Path]) -> list[Section]:
        """The section of gradients, where it is wanted."""
        if not self.gradients:
            return []
        from renorm.recipes.classify import gradients_of_run
        from renorm.report.sections import gradients

        device = self.common.device
        found = {name: gradients_of_run(path, self.gradients, device) for name, path in runs.items()}
        return [gradients.gradients(found, self.gradients)]


def by_name(grid: Grid) -> dict[str, dict[str, Interval | None]]:
    """The numbers of a grid by the names of its lines and columns."""
    return {line.name: dict(zip(grid.columns, line.cells, strict=True)) for line in grid.lines}
