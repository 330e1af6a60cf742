"""What the page of one run shows, whatever was trained: its table, its training, its banks, and how to get it again."""

from __future__ import annotations

from renorm.evaluate import Protocol
from renorm.report import figures, heat
from renorm.report.grid import accuracy_grid, changes, grid
from renorm.report.measures import measure_lines, number
from renorm.report.record import Record, Side
from renorm.report.section import Beside, Chart, Command, Facts, Folded, Heat, Section
from renorm.report.summary import away, best, points, sources, under
from renorm.report.training import learned

TABLE_NOTE = (
    "One row per shift of the test images, one column per bank used at evaluation; the weights are the same in every "
    "column. Accuracy in %, mean over the severities, ± half of its 95 % bootstrap interval over images; bold where a bank "
    "leads all others by more than chance (paired by image). A row with an arrow opens into its severities."
)
MEASURES_NOTE = (
    "One row per measure, one column per bank used at evaluation; the weights are the same in every column. ± is half of a 95 % "
    "interval, where there is one."
)
ADAPTED_NOTE = (
    "What a bank gains when it is {recipe}: points of accuracy on the same images, with paired 95 % intervals; pale where the "
    "interval holds 0."
)
TRADE_NOTE = (
    "One point per bank: to the right is more accurate, up is more robust. Bars are 95 % intervals over images. "
    "Open points on a dotted line are mixtures of the banks at its ends. Long bars leave the frame."
)
CURVES_NOTE = "Training views are what each branch saw, averaged over an epoch; test images are clean."
DISTANCE_NOTE = (
    "How far the second bank is from the first at each site, in standard deviations (sd) of the first: the root of the mean over "
    "channels of the squared differences of mean and standard deviation."
)
DISTANCE_AXIS = "distance in sd of {}"


def table(record: Record) -> Section:
    """The table bank x shift where it is of accuracies, else bank x measure."""
    return _shifts(record) if record.results.only() else _measures(record)


def _measures(record: Record) -> Section:
    results = record.results
    rows = [(line.name, *(" ".join(number(row)).strip() for row in line.rows)) for line in measure_lines(results)]
    return Section(
        "What each bank is worth", MEASURES_NOTE, [Facts(rows, ("", *results.banks))], source(results.protocol)
    )


def _shifts(record: Record) -> Section:
    found = heat.of_accuracies(accuracy_grid(record.results))
    return Section("Which bank for which shift", TABLE_NOTE, [Heat("heat-map", found)], source(record.results.protocol))


def adapted(record: Record) -> Section | None:
    """What adapting changes, where the table has adapted banks beside those they were made of."""
    results, pairs = record.results, sources(record.results.banks)
    if not pairs:
        return None
    columns = {f"{bank} - {own}": changes(results, results, (own, bank)) for bank, own in pairs.items()}
    found = heat.of_changes(grid(columns, results.shifts))
    recipe = results.protocol.banks.get(next(iter(pairs)), "adapted to each shift")
    note = ADAPTED_NOTE.format(recipe=recipe)
    return Section("What adapting changes", note, [Heat("adapted", found)], source(results.protocol))


def trade_off(record: Record) -> Section | None:
    """Accuracy against robustness, where the table has both."""
    found = points(record.results)
    if not found:
        return None
    figure = figures.trade_off({"": found}, robust_axis(record))
    label = f"accuracy on clean images and {under(away(record.results.shifts))} of {len(found)} banks"
    chart = Chart("trade-off", figure, label)
    return Section("Accuracy against robustness", TRADE_NOTE, [chart], source(record.results.protocol))


def training(record: Record) -> Section | None:
    """The curves of its training."""
    drawn = curves([Side(record.name, (record,))])
    return Section("Training", CURVES_NOTE, [drawn], trained(record)) if drawn else None


def curves(sides: list[Side]) -> Beside | None:
    """Curves of trainings, an axis each for loss and accuracy; none where nothing was written."""
    found = learned(sides)
    names = {axis: f"training-{'loss' if 'nats' in axis else 'accuracy'}" for axis in found}
    charts = [Chart(names[axis], figures.curves(lines, axis), f"{axis} by epoch") for axis, lines in found.items()]
    return Beside(charts) if charts else None


def distances(record: Record) -> Section | None:
    """How far apart each pair of its banks is."""
    charts = [
        Chart(
            f"distances-{one}-{other}",
            figures.distances({f"{one} to {other}": sites}, DISTANCE_AXIS.format(one)),
            f"distance of {other} from {one} at each site",
            heading=f"{one} to {other}",
        )
        for (one, other), sites in record.distances().items()
    ]
    return Section("How far apart the banks are", DISTANCE_NOTE, charts, trained(record)) if charts else None


def provenance(record: Record) -> Section:
    """Commands, seeds, versions and options."""
    about, protocol = record.about, record.results.protocol
    versions = {f"{name} version": value for name, value in about.get("versions", {}).items()}
    parts = [
        Command("Training", about.get("command", "")),
        Folded(f"All options, seed {record.seed}", [Facts.of({**record.config, **versions})]),
    ]
    if protocol.known:
        parts.append(Command("Table", protocol.command or "made from Python"))
        parts.append(Folded("How the table was made", [Facts.of(made(protocol))]))
    return Section("How to get this again", "", parts)


def robust_axis(record: Record) -> str:
    """Title of the axis of accuracy elsewhere."""
    return f"mean accuracy {under(away(record.results.shifts))} in %"


def cards(record: Record) -> list[tuple[str, str]]:
    """The best numbers of the table, and its size."""
    found, rows = points(record.results), record.results.only()
    if not rows:
        numbers = len({row.measure for row in record.results.rows})
        return [("banks", f"{len(record.results.banks):,}"), ("measures", f"{numbers:,}")]
    counted = [("images evaluated", f"{max(row.count for row in rows):,}"), ("banks x shifts", f"{len(rows):,}")]
    if not found:
        return counted
    clean, robust = best(found)
    where = under(away(record.results.shifts))
    return [
        (f"clean, the highest: {heat.short(clean.bank)}", f"{100 * clean.clean.value:.1f} %"),
        (f"{where}, the highest: {heat.short(robust.bank)}", f"{100 * robust.robust.value:.1f} %"),
        *counted,
    ]


def source(protocol: Protocol) -> str:
    """Seed and images of a table."""
    if not protocol.known:
        return "The table does not say how it was made."
    images = f", {protocol.data.images:,} images of {protocol.data.name}" if protocol.data else ""
    return f"Table of seed {protocol.seed}{images}; its command is at the end of the page."


def trained(record: Record) -> str:
    """Where the numbers of a training come from."""
    return f"Training of seed {record.seed}; its command is at the end of the page."


def made(protocol: Protocol) -> dict[str, object]:
    """How a table was made, for people."""
    sets = {"images": protocol.data} if protocol.data else {}
    sets |= {f"images of {name}": each for name, each in protocol.stored.items()}
    found: dict[str, object] = {
        what: f"{each.images:,} of {each.name}, hash {each.fingerprint}" for what, each in sets.items()
    }
    found |= {"seed": protocol.seed, "model": f"{protocol.model}, hash {protocol.weights}"}
    found |= {"input normalization": protocol.normalization} if protocol.mean else {}
    if protocol.rounding:
        found["corruptions"] = f"severities for {protocol.scale} pixels, rounding {protocol.rounding}"
    found |= {f"attack {name}": recipe for name, recipe in protocol.attacks.items()}
    found |= {f"bank {heat.short(name)}": recipe for name, recipe in protocol.banks.items()}
    return found | {"versions": ", ".join(f"{name} {value}" for name, value in protocol.versions.items())}
