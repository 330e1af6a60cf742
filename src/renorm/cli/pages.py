"""Pages, for every command that changes what is on them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from renorm.cli.console import Console
    from renorm.report.records import Record
    from renorm.report.section import Head, Section


def page_of_run(
    path: Path, data: str | None = None, more: Sequence[Section] = ()
) -> tuple[Record, Head, list[Section]]:
    """What is read of a run, and its page.

    Args:
        path: Folder of the run.
        data: Where the images of its table are, if they are elsewhere now.
        more: Sections that were asked for besides.
    """
    from renorm.recipes.classify import sections as kind
    from renorm.report.records import read
    from renorm.report.sections.run import provenance

    record = read(path, kind.options, data)
    shown = [section for each in kind.SECTIONS if (section := each(record))]
    return record, kind.head(record), [*shown, *more, provenance(record)]


def write_page(where: Path, head: Head, sections: list[Section], console: Console, png: Path | None = None) -> None:
    """Write a page, and its pictures where they are wanted."""
    from renorm.files import write_atomically
    from renorm.report import figures
    from renorm.report.page import page
    from renorm.report.paper import pictures

    write_atomically(where, page(head, sections).encode())
    console.done("report", where)
    for path in figures.save(pictures(sections), png, console.invocation) if png else ():
        console.done("picture", path, f"picture_{path.stem}")


def write_report(path: Path, console: Console) -> None:
    """Write the page of a run beside its table."""
    from renorm.train import Run

    _, head, sections = page_of_run(path)
    write_page(Run(path).report, head, sections, console)
