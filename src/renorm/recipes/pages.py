"""The pages of runs of any recipe."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from renorm import report
from renorm.recipes.kind import kind_of
from renorm.recipes.runs import options_at
from renorm.report import Head, Record, Section
from renorm.report.sections import run


def read_records(paths: Sequence[Path]) -> list[Record]:
    """What the pages of several runs are made of, each under a name that tells it from the others."""
    return report.read_records(paths, options_at)


def page_of_run(
    path: Path, data: str | None = None, more: Sequence[Section] = ()
) -> tuple[Record, Head, list[Section]]:
    """What is read of a run, and the parts of its page, which :func:`renorm.report.page` puts together.

    Args:
        path: Folder of the run.
        data: Where the images of its table are, if they are elsewhere now.
        more: Sections that were asked for besides.

    Raises:
        FileNotFoundError: If it is no run, or has no table; if there is nothing at ``data``.
        ValueError: If the table or a bank is damaged, or the images at ``data`` are others.
    """
    record = report.read_record(path, options_at, data)
    head, sections = kind_of(record.about).show(record)
    return record, head, [*sections, *more, run.provenance(record)]
