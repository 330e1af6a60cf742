"""Which figures a run has, or several side by side, for a paper."""

from matplotlib.figure import Figure

from renorm.report import pictures, plots
from renorm.report.comparison import distances_of
from renorm.report.gradients import Layers, cosines, lengths
from renorm.report.grid import accuracies, grid
from renorm.report.page import DISTANCE_AXIS, robust_axis
from renorm.report.records import Record, Side
from renorm.report.summary import points
from renorm.report.versus import Versus


def of_run(record: Record) -> dict[str, Figure]:
    """The table, the trade-off, the training and the distances of each pair of banks, by name."""
    results = record.results
    columns = {bank: accuracies(results, bank) for bank in results.banks}
    found = {"heat-map": pictures.heat_map(grid(columns, results.shifts))}
    if points(results):
        found["trade-off"] = pictures.trade_off({"": points(results)}, robust_axis(record))
    if curves := plots.learned([Side(record.name, (record,))]):
        found["training"] = pictures.curves(curves)
    for (one, other), sites in record.distances().items():
        axis = DISTANCE_AXIS.format(one)
        found[f"distances-{one}-{other}"] = pictures.distances({f"{one} to {other}": sites}, axis)
    return found


def of_layers(found: Layers) -> dict[str, Figure]:
    """The gradients of branches, by name; nothing where none were measured."""
    return {"gradients": pictures.gradients(lengths(found), cosines(found))} if found else {}


def of_several(found: Versus) -> dict[str, Figure]:
    """Accuracies, differences, the trade-off, the training and the distances, by name."""
    records = [record for side in found.sides for record in side.records]
    drawn = {"accuracies": pictures.heat_map(found.accuracies)}
    if len(found.sides) > 1:
        drawn["differences"] = pictures.heat_map(found.changes, change=True)
    if any(found.points.values()):
        drawn["trade-off"] = pictures.trade_off(found.points, robust_axis(records[0]))
    if curves := plots.learned(found.sides):
        drawn["training"] = pictures.curves(curves)
    if moved := distances_of(records):
        drawn["distances"] = pictures.distances(moved, DISTANCE_AXIS.format("the first"))
    return drawn
