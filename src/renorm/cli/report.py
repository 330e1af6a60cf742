"""``renorm report``: the page of a run, or of several side by side."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from tyro.conf import Positional

from renorm.cli.console import console, done, invocation, say

if TYPE_CHECKING:
    from renorm.report.section import Head, Section


@dataclass(frozen=True)
class Report:
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

    def run(self) -> None:
        """Run the command."""
        self.check()
        if len(self.runs) == 1:
            self.one(self.runs[0])
        else:
            self.several()

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

    def one(self, path: Path) -> None:
        """The page of a run."""
        from renorm.recipes.classify import sections as kind
        from renorm.report import tables
        from renorm.report.records import read
        from renorm.report.sections.run import provenance
        from renorm.train import Run

        record = read(path, kind.options, self.data)
        if self.table:
            console.print(tables.results(record.results, f"{path}: bank x shift"))
        shown = [section for each in kind.SECTIONS if (section := each(record))]
        sections = [*shown, *self.asked({"": path}), provenance(record)]
        self.write(self.out or Run(path).report, kind.head(record), sections)

    def several(self) -> None:
        """The page of several runs."""
        from renorm.recipes.classify.sections import options
        from renorm.report.records import names, read_all, sides
        from renorm.report.sections import several
        from renorm.report.versus import versus

        assert self.out is not None
        found = versus(sides(read_all(self.runs, options)), self.banks)
        for text in found.findings() if self.table else ():
            say(text)
        more = self.asked(dict(zip(names([path.resolve() for path in self.runs]), self.runs, strict=True)))
        self.write(self.out, several.head(found), several.sections(found, invocation(), more))

    def asked(self, runs: dict[str, Path]) -> list[Section]:
        """The section of gradients, where it is wanted."""
        if not self.gradients:
            return []
        from renorm.recipes.classify.gradients import of_run
        from renorm.report.sections.gradients import gradients

        return [gradients({name: of_run(path, self.gradients) for name, path in runs.items()}, self.gradients)]

    def write(self, where: Path, head: Head, sections: list[Section]) -> None:
        """Write the page, and its pictures where they are wanted."""
        from renorm.files import write_atomically
        from renorm.report import figures
        from renorm.report.page import page
        from renorm.report.paper import pictures

        write_atomically(where, page(head, sections).encode())
        done("report", where)
        if self.png:
            for path in figures.save(pictures(sections), self.png, invocation()):
                done("picture", path)
