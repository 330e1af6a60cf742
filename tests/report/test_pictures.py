"""Figures that plotly and matplotlib draw of the same values."""

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import matplotlib as mpl
import pytest
from PIL import Image

from renorm.report import paper, pictures, plots
from renorm.report.grid import accuracies, grid
from renorm.report.records import Side, sides
from renorm.report.summary import points
from renorm.report.versus import versus
from tests.report.made import ACCURACIES, HISTORY, record, results

MIXED = {("weak:0.5+strong:0.5", *cell[1:]): 0.9 for cell in ACCURACIES if cell[0] == "weak"}
RUN = record("run", 3, {**ACCURACIES, **MIXED})
SEVERAL = versus(sides([record("a-0", 0), record("a-1", 1), record("b-0", 0, rate=0.2), record("b-1", 1, rate=0.2)]))


def as_json(figure: Any) -> dict[str, Any]:
    return json.loads(figure.to_json())


def plotly_figures() -> dict[str, Any]:
    learned = plots.learned([Side("run", (RUN,))])
    moved = RUN.distances()["weak", "strong"]
    return {
        "trade-off": plots.trade_off({"": points(RUN.results)}, "under corruptions"),
        "trade-off of several": plots.trade_off(SEVERAL.points, "under corruptions"),
        **{title: plots.curves(title, lines) for title, lines in learned.items()},
        "distances": plots.distances({"weak to strong": moved}, "distance"),
        "distances of several": plots.distances({"a": moved, "b": moved}, "distance"),
    }


def test_every_plot_names_its_axes_and_its_lines():
    for figure in plotly_figures().values():
        found = as_json(figure)
        axes = [axis for name, axis in found["layout"].items() if re.fullmatch(r"[xy]axis\d*", name)]
        assert len(axes) == 2
        assert all(axis["title"]["text"] for axis in axes)
        assert all(trace.get("name") or trace.get("showlegend") is False for trace in found["data"])


def test_the_trade_off_joins_mixtures_with_their_ends():
    line, *marks = as_json(plots.trade_off({"": points(RUN.results)}, "under corruptions"))["data"]
    assert line["mode"] == "lines"
    assert line["x"] == pytest.approx([95, 90, 93])
    assert {mark["name"]: mark["marker"]["symbol"] for mark in marks} == {
        "weak": "circle",
        "strong": "circle",
        "clean@weak": "circle",
        "weak:0.5+strong:0.5": "circle-open",
    }
    assert len({mark["marker"]["color"] for mark in marks}) == 4
    several = as_json(plots.trade_off(SEVERAL.points, "under corruptions"))["data"]
    assert len({mark["marker"]["color"] for mark in several}) == 2


def test_curves_are_means_over_seeds_as_far_as_all_went():
    other = replace(RUN, history=[{**line, "test/weak": 0.8} for line in HISTORY[:2]])
    found = plots.learned([Side("one", (RUN, other)), Side("two", (RUN,))])
    one, two = found[plots.ACCURACY]
    assert (one.name, one.values) == ("one: weak, clean test images", {1: pytest.approx(70), 2: pytest.approx(70)})
    assert len(two.values) == 3
    assert len(found[plots.LOSS]) == 2
    alone = plots.learned([Side("one", (RUN,))])
    assert [line.name for line in alone[plots.ACCURACY]] == ["weak, training views", "weak, clean test images"]
    assert plots.learned([Side("one", (replace(RUN, history=()),))]) == {}


def test_distances_are_in_the_order_of_the_model_and_many_names_are_thinned():
    (bars,) = as_json(plots.distances({"x": {"b": 1.0, "a": 2.0}}, "y"))["data"]
    assert (bars["x"], bars["y"]) == (["b", "a"], [1, 2])
    many = {f"layer{i}": float(i) for i in range(100)}
    assert "dtick" not in as_json(plots.distances({"x": many}, "y"))["layout"]["xaxis"]
    axes = pictures.distances({"x": many}, "y").axes[0]
    assert len(axes.get_xticks()) <= plots.MANY
    assert axes.get_xticklabels()[1].get_text() == "layer3"


def test_a_paper_has_every_figure_of_a_run(tmp_path: Path):
    before = dict(mpl.rcParams)
    paths = pictures.save(paper.of_run(RUN), tmp_path / "png")
    assert [path.name for path in paths] == [
        "heat-map.png", "trade-off.png", "training.png", "distances-weak-strong.png",
    ]  # fmt: skip
    for path in paths:
        with Image.open(path) as image:
            assert image.width >= 500
            assert image.info["dpi"] == pytest.approx((pictures.DOTS, pictures.DOTS), rel=0.01)
    assert dict(mpl.rcParams) == before
    names = pictures.save(paper.of_several(SEVERAL), tmp_path)
    assert [path.stem for path in names] == ["accuracies", "differences", "trade-off", "training", "distances"]


def test_a_run_without_some_numbers_has_fewer_figures():
    bare = replace(RUN, results=results({("source", "clean", 0): 0.9}), history=(), banks={})
    assert list(paper.of_run(bare)) == ["heat-map"]


def test_texts_of_a_heat_map_do_not_touch():
    names = [
        "weak",
        "strong",
        "clean@weak",
        "clean@strong",
        "weak:0.5+strong:0.5",
        "adapted@weak",
        "a/camera.safetensors",
    ]
    table = results({(name, shift, 1): 0.5 for name in names for shift in ("contrast", "gaussian_noise", "spatter")})
    figure = pictures.heat_map(grid({name: accuracies(table, name) for name in names}, table.shifts))
    figure.draw_without_rendering()
    (axes,) = figure.axes
    for ticks in (axes.get_xticklabels(), axes.get_yticklabels()):
        boxes = [text.get_window_extent() for text in ticks]
        assert not any(one.overlaps(other) for i, one in enumerate(boxes) for other in boxes[:i])
    assert axes.get_xticklabels()[-1].get_text() == "camera"
