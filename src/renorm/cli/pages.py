"""Pages, for every command that changes what is on them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from renorm.cli.console import Console
    from renorm.report import Head, Section


def write_page(where: Path, head: Head, sections: list[Section], console: Console, png: Path | None = None) -> None:
    """Write a page, and its pictures where they are wanted."""
    from renorm.files import write_atomically
    from renorm.report import figures, page, paper

    write_atomically(where, page(head, sections).encode())
    console.done("report", where)
    for path in figures.save(paper.pictures(sections), png, console.invocation) if png else ():
        console.done("picture", path, f"picture_{path.stem}")


def write_report(path: Path, console: Console) -> None:
    """Write the page of a run beside its table."""
    from renorm.recipes import page_of_run
    from renorm.train import Run

    _, head, sections = page_of_run(path)
    write_page(Run(path).report, head, sections, console)
