"""Figures of searches: every mark tells what it is."""

from __future__ import annotations

import pytest
from matplotlib.figure import Figure

from renorm.models import Cell
from renorm.report import Chart, cells
from renorm.report.svg import svg

CELL = Cell.numbered([3, 0, 1, 4, 2, 3])


def drawn(figure: Figure) -> str:
    return svg(Chart("x", figure, "a chart"))


def test_a_cell_has_its_operation_on_each_edge():
    page = drawn(cells.graph(CELL))
    for name, number in (("3x3", 2), ("none", 1), ("skip", 1), ("pool", 1), ("1x1", 1), ("in", 1), ("out", 1)):
        assert page.count(f">{name}<") == number, name


def test_weights_have_a_panel_an_edge_and_a_mark_an_epoch():
    edges = {f"{edge}": {"none": {1: 0.2, 2: 0.1}, "skip_connect": {1: 0.3, 2: 0.4}} for edge in range(6)}
    page = drawn(cells.weights(edges))
    assert "<title>5, skip, epoch 2: 0.400</title>" in page
    assert page.count("<title>") == 24


def test_orders_tell_each_cell_and_how_well_each_bank_orders():
    found = {"trained": [10.0, 20.0], "recalibrated:64": [30.0, 40.0]}
    page = drawn(cells.orders([90.0, 91.5], found, [CELL, CELL], {"trained": "tau 0.3", "recalibrated:64": "tau 0.5"}))
    assert "recalibrated:64: tau 0.5" in page
    assert f"<title>{CELL}: 91.50 % alone, 40.0 % here</title>" in page


@pytest.mark.parametrize("trained", [None, 0.3])
def test_images_have_their_intervals_and_what_training_left(trained: float | None):
    page = drawn(cells.by_images({16: (0.2, 0.1, 0.3), 64: (0.4, 0.3, 0.5)}, trained))
    assert "<title>64 images: tau 0.400</title>" in page
    assert ("statistics of training: tau 0.300" in page) == (trained is not None)


def test_curves_of_training_are_dotted():
    figure = cells.by_epoch({"training images": {1: 2.0}, "test images": {1: 2.1}}, "cross-entropy in nats")
    assert [line.get_linestyle() for line in figure.axes[0].lines] == [":", "-"]
