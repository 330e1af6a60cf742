"""The figures of a page as pictures for a paper."""

from __future__ import annotations

from collections.abc import Sequence

from matplotlib.figure import Figure

from renorm.report.heat_map import heat_map
from renorm.report.section import Beside, Chart, Heat, Part, Section


def pictures(sections: Sequence[Section]) -> dict[str, Figure]:
    """Every figure and every table of numbers on coloured ground, by name."""
    return {name: figure for each in sections for part in each.body for name, figure in _drawn(part, each).items()}


def _drawn(part: Part, section: Section) -> dict[str, Figure]:
    if isinstance(part, Heat):
        note = section.note.replace(" A row with an arrow opens into its severities.", "")
        return {part.name: heat_map(part.table, section.title, note)}
    charts = [part] if isinstance(part, Chart) else part.parts if isinstance(part, Beside) else []
    return {chart.name: chart.figure for chart in charts}
