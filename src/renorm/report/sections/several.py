"""The page of several runs side by side."""

from __future__ import annotations

from collections.abc import Sequence

from renorm.evaluate import Protocol
from renorm.report import figures, heat
from renorm.report.record import Record, differing
from renorm.report.section import Chart, Command, Facts, Folded, Head, Heat, Section, readable
from renorm.report.sections.run import DISTANCE_AXIS, curves, made, robust_axis
from renorm.report.versus import Versus

CHANGES_NOTE = (
    "What {other} has more than {first}, in points of accuracy, with 95 % intervals; pale where the interval holds 0. A row "
    "with an arrow opens into its severities."
)
ACCURACY_NOTE = (
    "Accuracy in %, mean over the severities, ± half of its 95 % interval; bold where one leads all others by more than "
    "chance."
)
TRADE_NOTE = (
    "One colour per run, one shape per bank: to the right is more accurate, up is more robust. Open points on a dotted line "
    "are mixtures of the banks at its ends. Long bars leave the frame."
)
CURVES_NOTE = "Mean over the seeds, where there are several."
DISTANCE_NOTE = "How far the second bank of each run is from its first, at each site."
OPTIONS_NOTE = "Only options that are not the same in all runs."


def head(found: Versus) -> Head:
    """The beginning of the page."""
    records = [record for side in found.sides for record in side.records]
    names, several = [side.name for side in found.sides], len(found.sides) > 1
    against = f"{' and '.join(names[1:3])}{' and others' * (len(names) > 3)} against {names[0]}"
    lead = f"{len(records)} runs on {records[0].config.get('data', 'data')}, compared under {len(found.shifts)} shifts"
    findings = found.findings() if several else [_spread(found) + "."]
    return Head(against if several else names[0], lead, findings, _cards(found, records))


def sections(found: Versus, command: str = "", more: Sequence[Section] = ()) -> list[Section]:
    """All that the page shows.

    Args:
        found: What is compared.
        command: That makes the page.
        more: Further sections.
    """
    records = [record for side in found.sides for record in side.records]
    shown = [_changes(found), _accuracies(found), _trade_off(found, records[0]), _training(found), _distances(records)]
    return [*(each for each in shown if each), *more, *_options(records), _provenance(records, command)]


def _changes(found: Versus) -> Section | None:
    if len(found.sides) == 1:
        return None
    how = "; ".join(f"{side.name}: {found.how(side)}" for side in found.sides[1:])
    other = found.sides[1].name if len(found.sides) == 2 else "each"
    note = CHANGES_NOTE.format(first=found.sides[0].name, other=other)
    return Section("Differences", note, [Heat("differences", heat.of_changes(found.changes))], how)


def _accuracies(found: Versus) -> Section:
    table = heat.of_accuracies(found.accuracies)
    return Section("Accuracies", ACCURACY_NOTE, [Heat("accuracies", table)], _spread(found))


def _trade_off(found: Versus, first: Record) -> Section | None:
    if not any(found.points.values()):
        return None
    figure = figures.trade_off(found.points, robust_axis(first))
    chart = Chart("trade-off", figure, "accuracy on clean images and elsewhere of the banks of each run")
    return Section("Accuracy against robustness", TRADE_NOTE, [chart])


def _training(found: Versus) -> Section | None:
    drawn = curves(list(found.sides))
    return Section("Training", CURVES_NOTE, [drawn]) if drawn else None


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


def _cards(found: Versus, records: Sequence[Record]) -> list[tuple[str, str]]:
    images = max(row.count for row in records[0].results.rows)
    return [
        ("runs", f"{len(records)}"),
        ("trained with seed", " ".join(sorted({str(record.seed) for record in records}))),
        ("images", f"{images:,}"),
        ("shifts", f"{len(found.shifts)}"),
    ]


def distances_of(records: Sequence[Record]) -> dict[str, dict[str, float]]:
    """Of each run the distance between its first two banks, where the sites are those of the first run that has any."""
    moved = {}
    for record in records:
        if record.distances():
            (one, other), sites = next(iter(record.distances().items()))
            moved[f"{record.name}: {one} to {other}"] = sites
    first = next(iter(moved.values()), {})
    return {name: sites for name, sites in moved.items() if sites.keys() == first.keys()}


def _distances(records: Sequence[Record]) -> Section | None:
    moved = distances_of(records)
    if not moved:
        return None
    figure = figures.distances(moved, DISTANCE_AXIS.format("the first"))
    chart = Chart("distances", figure, "distance between the first two banks of each run at each site")
    return Section("How far apart the banks are", DISTANCE_NOTE, [chart])


def _options(records: Sequence[Record]) -> list[Section]:
    found = differing(records)
    if not found:
        return []
    values = zip(*([readable(each) for each in option] for option in found.values()), strict=True)
    rows = [(record.name, *each) for record, each in zip(records, values, strict=True)]
    return [Section("What differs", OPTIONS_NOTE, [Facts(rows, ("run", *found))])]


def _provenance(records: Sequence[Record], command: str) -> Section:
    parts: list[Command | Folded] = [Command("This page", command)] if command else []
    for record in records:
        protocol = record.results.protocol
        parts.append(Command(f"{record.name}, seed {record.seed}", _commands(record)))
        title = f"How its table was made: seed {protocol.seed}, {_images(protocol)}"
        parts.append(Folded(title, [Facts.of(made(protocol))]))
    return Section("How to get this again", "", parts)


def _commands(record: Record) -> str:
    return "\n".join(dict.fromkeys(filter(None, (record.about.get("command", ""), record.results.protocol.command))))


def _images(protocol: Protocol) -> str:
    sets = [*([protocol.data] if protocol.data else []), *protocol.stored.values()]
    return ", ".join(dict.fromkeys(f"{each.images:,} images of {each.name}" for each in sets))
