"""What the page of a search shows."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from typing import Any

from renorm.models import EDGES, OPERATIONS, Cell
from renorm.recipes.flat import read_config
from renorm.recipes.search.asked import PARAMETERS, RECALIBRATED, TABLE, TRAINED
from renorm.recipes.search.config import Config
from renorm.recipes.search.mixture import cell_of
from renorm.recipes.search.ranking import CEILING, first_cells, sampled
from renorm.recipes.search.score import CELLS, accuracies, in_words
from renorm.report import Chart, Command, Head, Record, Section
from renorm.report import cells as drawing
from renorm.report.sections import run

GRAPH_NOTE = "Nodes from left to right; a node is the sum of the edges that end in it. Dotted edges give nothing."
WEIGHTS_NOTE = (
    "The softmax of each edge, from where it starts to where it ends, after every epoch. Where skip or pool wins on all of "
    "them the search has collapsed: the cell of the largest weights is the cell that is found."
)
ACCURACY_NOTE = (
    "How good the cell of each epoch really is, by the benchmark's table, and how the mixture of all operations predicts the "
    "test images. The second is not the first."
)
ORDER_NOTE = (
    "A point for each cell: how accurate it is in the table, trained alone, and by the weights that all cells share. Left by the "
    "running statistics that training left, right by those measured through its own path. Tau is Kendall's, with a 95 % interval "
    "over cells."
)
IMAGES_NOTE = "Tau over all cells by the number of training images that each path's statistics are measured on."


def head(record: Record) -> Head:
    """The beginning of the page."""
    config = read_config(Config, record.about)
    what = "Ranking cells" if not config.mixes else "Searching a cell"
    return Head(f"{what} on {config.data}", in_words(config), findings(record), cards(record))


def findings(record: Record) -> list[str]:
    """What the page says in words."""
    if not read_config(Config, record.about).mixes:
        return [_gain(record)] if _gain(record) else []
    cell, last = cell_of(record.history[-1]), record.history[-1]
    words = f"Found after {last['epoch']} epochs: {cell}, {cell.free_edges} of whose 6 edges have no parameters"
    if "table/accuracy" in last:
        words += f"; {100 * last['table/accuracy']:.2f} % in the table, better than {last['table/percentile']:.0f} % of all cells"
    return [f"{words}." if cell.connected else f"{words}. It leads nowhere, so it guesses."]


def cards(record: Record) -> list[tuple[str, str]]:
    """A few numbers: of what was found, or of how well cells are ordered."""
    if not read_config(Config, record.about).mixes:
        taus = {row.bank: row.value for row in record.results.only("tau")}
        shown = [bank for bank in (TRAINED, _most(list(taus)), PARAMETERS) if bank in taus]
        return [*((f"tau by {bank}", f"{taus[bank]:.2f}") for bank in shown), ("two cells of one graph", f"{CEILING}")]
    last = record.history[-1]
    found = [
        ("edges without parameters", f"{last['free_edges']:.0f} of 6"),
        ("mixture, test images", f"{last['test/mixture']:.1%}"),
    ]
    if "table/accuracy" in last:
        found = [("found cell, in the table", f"{last['table/accuracy']:.2%}"), *found]
    return found


def _gain(record: Record) -> str:
    rows = [row for row in record.results.only("tau more than trained") if row.low is not None and row.high is not None]
    if not rows:
        return ""
    row = rows[-1]
    assert row.low is not None
    assert row.high is not None
    sure = row.low > 0 or row.high < 0
    what = "orders cells better" if row.value > 0 else "orders cells worse"
    what = what if sure else "orders cells neither surely better nor surely worse"
    return (
        f"Measuring each cell's statistics through its own path {what} than what training left: tau {row.value:+.2f} "
        f"[{row.low:+.2f}, {row.high:+.2f}] with {row.bank}, over {row.count} cells."
    )


def found(record: Record) -> Section | None:
    """The cell that was found, drawn."""
    if not read_config(Config, record.about).mixes or not record.history:
        return None
    cell = cell_of(record.history[-1])
    chart = Chart("cell", drawing.graph(cell), f"the cell {cell}")
    return Section("The cell", GRAPH_NOTE, [chart], run.trained(record))


def softmax(record: Record) -> Section | None:
    """The weights of operations by epoch."""
    if not read_config(Config, record.about).mixes or not record.history:
        return None
    edges = {
        f"{start} to {end}": {o: by_epoch(record.history, f"weight/{end}<-{start}/{o}") for o in OPERATIONS}
        for end, start in EDGES
    }
    chart = Chart("weights", drawing.weights(edges), "weights of the operations on each edge by epoch")
    return Section("Which operation wins", WEIGHTS_NOTE, [chart], run.trained(record))


def accuracy(record: Record) -> Section | None:
    """How good what is found is, by epoch."""
    lines = {"found cell, in the table": "table/accuracy", "mixture, test images": "test/mixture"}
    drawn = {name: each for name, key in lines.items() if (each := by_epoch(record.history, key, 100))}
    if not drawn:
        return None
    chart = Chart(
        "accuracy", drawing.by_epoch(drawn, "accuracy in %"), f"accuracy of the {' and the '.join(drawn)} by epoch"
    )
    return Section("How good it is", ACCURACY_NOTE, [chart], run.trained(record))


def training(record: Record) -> Section | None:
    """Losses by epoch."""
    lines = {
        "training images": "loss",
        "held-out half, in training": "loss/held",
        "mixture, test images": "mixture/loss",
    }
    drawn = {name: each for name, key in lines.items() if (each := by_epoch(record.history, key))}
    if not drawn:
        return None
    axis = "cross-entropy in nats"
    chart = Chart("training-loss", drawing.by_epoch(drawn, axis), f"{axis} by epoch")
    return Section("Training", "", [chart], run.trained(record))


def orders(record: Record) -> Section | None:
    """Accuracies by shared weights against those in the table, before and after measuring."""
    truth = record.results.values.get("accuracy in the table", {}).get((TABLE, CELLS, 0))
    found = accuracies(record.results)
    shown = [bank for bank in (TRAINED, _most(list(found))) if bank in found]
    if truth is None or not shown:
        return None
    taus = {bank: _in_words(record, bank) for bank in shown}
    values = {bank: (100 * found[bank]).tolist() for bank in shown}
    drawn = drawing.orders((100 * truth).tolist(), values, sampled(len(truth), record.results.protocol.seed), taus)
    chart = Chart("orders", drawn, "accuracy by shared weights against accuracy in the table")
    return Section("How shared weights order cells", ORDER_NOTE, [chart], run.source(record.results.protocol))


def images(record: Record) -> Section | None:
    """How many images measuring needs, where several numbers were tried."""
    rows = {row.bank: row for row in record.results.only("tau")}
    found = {
        int(bank.partition(":")[2]): (row.value, row.low, row.high)
        for bank, row in rows.items()
        if bank.startswith(f"{RECALIBRATED}:") and row.low is not None and row.high is not None
    }
    if len(found) < 2:
        return None
    trained = rows[TRAINED].value if TRAINED in rows else None
    chart = Chart(
        "images", drawing.by_images(found, trained), "tau by the number of images that each path is measured on"
    )
    return Section("How many images it needs", IMAGES_NOTE, [chart], run.source(record.results.protocol))


def alone(record: Record) -> Section | None:
    """The line that trains the cell alone."""
    cell = best(record)
    if cell is None or not cell.connected:
        return None
    config: dict[str, Any] = record.about["config"]
    words = [
        "renorm",
        "train",
        "--model",
        f"cell:{cell}",
        "--data",
        config["data"],
        "--norm",
        "shared",
        "--branches",
        "weak",
    ]
    words += ["--size", str(config["size"])] if config["size"] else []
    return Section("Train the cell alone", "", [Command("What to type", shlex.join(words))])


def best(record: Record) -> Cell | None:
    """The cell that was found, or that is ranked first by the most images."""
    if read_config(Config, record.about).mixes:
        return cell_of(record.history[-1]) if record.history else None
    found = accuracies(record.results)
    return first_cells(found, record.results.protocol.seed).get(_most(list(found)))


def by_epoch(history: Sequence[Mapping[str, Any]], key: str, factor: float = 1) -> dict[int, float]:
    """A number of each epoch that has it."""
    return {record["epoch"]: factor * record[key] for record in history if key in record}


def _most(banks: Sequence[str]) -> str:
    """The recalibrated bank of the most images."""
    numbers = [int(bank.partition(":")[2]) for bank in banks if bank.startswith(f"{RECALIBRATED}:")]
    return f"{RECALIBRATED}:{max(numbers)}" if numbers else ""


def _in_words(record: Record, bank: str) -> str:
    row = record.results.get((bank, CELLS, 0), "tau")
    return (
        ""
        if row is None or row.low is None or row.high is None
        else f"tau {row.value:.2f} [{row.low:.2f}, {row.high:.2f}]"
    )


SECTIONS = (orders, images, found, softmax, accuracy, run.table, training, alone)


def show(record: Record) -> tuple[Head, list[Section]]:
    """The head of the page, and the sections that there are."""
    return head(record), [section for each in SECTIONS if (section := each(record))]
