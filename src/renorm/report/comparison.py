"""The page of several runs side by side."""

import html
from collections.abc import Sequence

from renorm.evaluate import Protocol
from renorm.report import heat, plots
from renorm.report.page import (
    DISTANCE_AXIS,
    cards,
    facts,
    made,
    pair,
    plot,
    readable,
    robust_axis,
    section,
    whole,
)
from renorm.report.records import Record, differing
from renorm.report.versus import Versus

CHANGES_NOTE = (
    "What each has more than {first}, in points of accuracy, with 95 % intervals; pale where the interval holds 0. A row "
    "with an arrow opens into its severities."
)
ACCURACY_NOTE = "Accuracy in %, mean over the severities, ± half of its 95 % interval."
TRADE_NOTE = (
    "One colour per run, one point per bank: to the right is more accurate, up is more robust. Open points on a dotted line "
    "are mixtures of the banks at its ends. Long bars leave the frame."
)
CURVES_NOTE = "Mean over the seeds, where there are several."
DISTANCE_NOTE = "How far the second bank of each run is from its first, at each site."
OPTIONS_NOTE = "Only options that are not the same in all runs."


def page(found: Versus, command: str = "", more: Sequence[str] = ()) -> str:
    """The page as HTML.

    Args:
        found: What is compared.
        command: That makes this page.
        more: Further sections, as HTML.
    """
    records = [record for side in found.sides for record in side.records]
    several = len(found.sides) > 1
    sections = []
    if several:
        how = "; ".join(f"{side.name}: {found.how(side)}" for side in found.sides[1:])
        note = CHANGES_NOTE.format(first=found.sides[0].name)
        sections.append(section("Differences", note, heat.of_changes(found.changes), html.escape(how)))
    sections.append(
        section("Accuracies", ACCURACY_NOTE, heat.of_accuracies(found.accuracies), html.escape(_spread(found)))
    )
    if any(found.points.values()):
        figure = plots.trade_off(found.points, robust_axis(records[0]))
        sections.append(section("Accuracy against robustness", TRADE_NOTE, plot(figure)))
    curves = [plot(plots.curves(*each)) for each in plots.learned(found.sides).items()]
    if curves:
        sections.append(section("Training", CURVES_NOTE, pair(curves)))
    sections += [*_distances(records), *more]
    if differing(records):
        sections.append(section("What differs", OPTIONS_NOTE, _options(records)))
    sections.append(section("How to get this again", "", _provenance(records, command)))
    names = [side.name for side in found.sides]
    return whole(
        f"{' and '.join(names[1:3])}{' and others' * (len(names) > 3)} against {names[0]}" if several else names[0],
        f"{len(records)} runs on {records[0].config.get('data', 'data')}, compared under {len(found.shifts)} shifts",
        found.findings() if several else [_spread(found) + "."],
        _cards(found, records),
        sections,
    )


def _spread(found: Versus) -> str:
    """What the intervals of accuracies are."""
    groups = {True: [], False: []}
    for side in found.sides:
        groups[len(side.records) > 1].append(side)
    seeds = [f"{side.name}: mean over {len(side.records)} seeds with Student's 95 % interval" for side in groups[True]]
    single = (
        [f"{', '.join(s.name for s in groups[False])}: bootstrap 95 % interval over images"] if groups[False] else []
    )
    return "; ".join([*seeds, *single])


def _cards(found: Versus, records: Sequence[Record]) -> str:
    seeds = sorted({str(record.seed) for record in records})
    images = max(row.count for row in records[0].results.rows)
    return cards(
        [
            ("runs", f"{len(records)}"),
            ("seeds", " ".join(seeds)),
            ("images", f"{images:,}"),
            ("shifts", f"{len(found.shifts)}"),
        ]
    )


def distances_of(records: Sequence[Record]) -> dict[str, dict[str, float]]:
    """Of each run the distance between its first two banks, where the sites are those of the first run that has any."""
    moved = {}
    for record in records:
        if record.distances():
            (one, other), sites = next(iter(record.distances().items()))
            moved[f"{record.name}: {one} to {other}"] = sites
    first = next(iter(moved.values()), {})
    return {name: sites for name, sites in moved.items() if sites.keys() == first.keys()}


def _distances(records: Sequence[Record]) -> list[str]:
    moved = distances_of(records)
    if not moved:
        return []
    figure = plots.distances(moved, DISTANCE_AXIS.format("the first"))
    return [section("How far apart the banks are", DISTANCE_NOTE, plot(figure))]


def _options(records: Sequence[Record]) -> str:
    found = differing(records)
    heads = "".join(f"<th>{heat.breakable(name)}</th>" for name in found)
    rows = [
        f"<tr><td>{heat.breakable(record.name)}</td>"
        + "".join(f"<td>{html.escape(readable(values[i]))}</td>" for values in found.values())
        + "</tr>"
        for i, record in enumerate(records)
    ]
    table = f'<table class="facts"><thead><tr><th>run</th>{heads}</tr></thead>{"".join(rows)}</table>'
    return f'<div class="scroll">{table}</div>'


def _provenance(records: Sequence[Record], command: str) -> str:
    parts = [f"<h3>This page</h3><pre>{html.escape(command)}</pre>"] if command else []
    for record in records:
        protocol = record.results.protocol
        parts.append(
            f"<h3>{html.escape(record.name)}, seed {record.seed}</h3>"
            f"<pre>{html.escape(record.about.get('command', ''))}\n{html.escape(protocol.command)}</pre>"
            f'<p class="source">table: seed {protocol.seed}, {html.escape(_images(protocol))}</p>'
            f"<details><summary>How its table was made</summary>{facts(made(protocol))}</details>"
        )
    return "".join(parts)


def _images(protocol: Protocol) -> str:
    sets = [*([protocol.data] if protocol.data else []), *protocol.stored.values()]
    return ", ".join(dict.fromkeys(f"{each.images:,} images of {each.name}" for each in sets))
