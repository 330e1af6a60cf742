"""Figures of pages and papers show the numbers they are given."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import matplotlib as mpl
import pytest
from matplotlib import colors
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.text import Text
from PIL import Image

from renorm.recipes.classify import sections as classify
from renorm.report import figures, heat, paper
from renorm.report.grid import accuracy_grid
from renorm.report.heat_map import heat_map
from renorm.report.labels import label
from renorm.report.record import Side, sides
from renorm.report.sections import run, several
from renorm.report.summary import points
from renorm.report.training import ACCURACY, LOSS, Learned, learned
from renorm.report.versus import versus
from tests.report.made import ACCURACIES, HISTORY, record, results

MIXED = {("weak:0.5+strong:0.5", *cell[1:]): 0.9 for cell in ACCURACIES if cell[0] == "weak"}
RUN = record("run", 3, {**ACCURACIES, **MIXED})
SEVERAL = versus(sides([record("a-0", 0), record("a-1", 1), record("b-0", 0, rate=0.2), record("b-1", 1, rate=0.2)]))


MOVED = RUN.distances()["weak", "strong"]
DRAWN: dict[str, Callable[[], Figure]] = {
    "trade-off": lambda: figures.trade_off({"": points(RUN.results)}, "under corruptions"),
    "trade-off of several": lambda: figures.trade_off(SEVERAL.points, "under corruptions"),
    **{axis: partial(figures.curves, lines, axis) for axis, lines in learned([Side("run", (RUN,))]).items()},
    "distances": lambda: figures.distances({"weak to strong": MOVED}, "distance"),
    "distances of several": lambda: figures.distances({"a": MOVED, "b": MOVED}, "distance"),
}


def test_every_figure_names_its_axes():
    for draw in DRAWN.values():
        figure = draw()
        assert figure.axes
        assert all(axes.get_xlabel() and axes.get_ylabel() for axes in figure.axes)


def test_the_trade_off_joins_mixtures_with_their_ends_and_names_its_points():
    (axes,) = figures.trade_off({"": points(RUN.results)}, "under corruptions").axes
    joined = next(line for line in axes.get_lines() if line.get_linestyle() == ":")
    assert list(joined.get_xdata()) == pytest.approx([95, 90, 93])  # type: ignore[arg-type]
    assert sorted(text.get_text() for text in axes.texts) == ["clean@weak", "strong", "weak", "weak:0.5+strong:0.5"]
    marks = [line for line in axes.get_lines() if line.get_marker() in figures.SHAPES]
    assert len({str(mark.get_marker()) for mark in marks}) == 4
    assert len({colors.to_hex(mark.get_color()) for mark in marks}) == 4
    assert len({colors.to_hex(mark.get_markerfacecolor()) for mark in marks}) == 4


def test_of_several_runs_a_run_is_a_colour_and_a_bank_a_shape():
    figure = figures.trade_off(SEVERAL.points, "under corruptions")
    marks = [line for line in figure.axes[0].get_lines() if line.get_marker() in figures.SHAPES]
    told = [(colors.to_hex(mark.get_color()), str(mark.get_marker())) for mark in marks]
    assert len(told) == len(set(told)) == 6
    assert (len({color for color, _ in told}), len({shape for _, shape in told})) == (2, 3)
    names = [text.get_text() for legend in figure.legends for text in legend.get_texts()]
    assert names == ["a", "b", "weak", "strong", "clean@weak"]


def test_names_of_many_curves_stay_in_the_figure():
    long = [Learned(f"{run}/of/some/run: weak, training views", "#2563eb", {1: 1.0, 2: 0.5}, False) for run in "abc"]
    figure = figures.curves(long, LOSS)
    figure.draw_without_rendering()
    (legend,) = figure.legends
    assert legend.get_window_extent().x1 <= figure.bbox.x1


def test_names_of_points_do_not_touch():
    figure = Figure(figsize=(5, 3.6), layout="constrained")
    axes = figure.add_subplot()
    axes.set(xlim=(0, 1), ylim=(0, 1))
    given = [(0.4 + 0.02 * i, 0.5 + 0.04 * (i % 3), f"bank@number{i}") for i in range(8)]
    label(axes, given)
    figure.draw_without_rendering()
    boxes = [Text.get_window_extent(text) for text in axes.texts]  # without the lines to their points
    assert not any(one.overlaps(other) for i, one in enumerate(boxes) for other in boxes[:i])
    frame = axes.get_window_extent()
    assert all(frame.x0 <= box.x0 and box.x1 <= frame.x1 for box in boxes)


def test_curves_are_means_over_seeds_as_far_as_all_went():
    other = replace(RUN, history=[{**line, "test/weak": 0.8} for line in HISTORY[:2]])
    found = learned([Side("one", (RUN, other)), Side("two", (RUN,))])
    one, two = found[ACCURACY]
    assert (one.name, one.values) == ("one: weak, clean test images", {1: pytest.approx(70), 2: pytest.approx(70)})
    assert len(two.values) == 3
    assert len(found[LOSS]) == 2
    alone = learned([Side("one", (RUN,))])
    assert [line.name for line in alone[ACCURACY]] == ["weak, training views", "weak, clean test images"]
    assert learned([Side("one", (replace(RUN, history=()),))]) == {}


def test_curves_of_tests_are_whole_and_of_training_dotted():
    lines = [Learned(name, "#2563eb", {1: 50.0, 2: 60.0}, name == "test") for name in ("training", "test")]
    (axes,) = figures.curves(lines, ACCURACY).axes
    assert {str(line.get_label()): line.get_linestyle() for line in axes.get_lines()} == {"training": ":", "test": "-"}
    assert list(axes.get_lines()[0].get_ydata()) == [50, 60]  # type: ignore[arg-type]


def test_distances_are_in_the_order_of_the_model_and_many_names_are_thinned():
    (axes,) = figures.distances({"x": {"b": 1.0, "a": 2.0}}, "y").axes
    bars = [patch.get_height() for patch in axes.patches if isinstance(patch, Rectangle)]
    assert (bars, [text.get_text() for text in axes.get_xticklabels()]) == ([1, 2], ["b", "a"])
    many = {f"layer{i}": float(i) for i in range(100)}
    (axes,) = figures.distances({"x": many}, "y").axes
    assert len(axes.get_xticks()) <= figures.MANY
    assert axes.get_xticklabels()[1].get_text() == "layer3"


def test_a_paper_has_every_figure_of_a_run(tmp_path: Path):
    before = dict(mpl.rcParams)
    shown = [section for each in classify.SECTIONS if (section := each(RUN))]
    paths = figures.save(paper.pictures([*shown, run.provenance(RUN)]), tmp_path / "png")
    assert [path.name for path in paths] == [
        "heat-map.png", "trade-off.png", "training-loss.png", "training-accuracy.png", "distances-weak-strong.png",
    ]  # fmt: skip
    for path in paths:
        with Image.open(path) as image:
            assert image.width >= 500
            assert image.info["dpi"] == pytest.approx((figures.DOTS, figures.DOTS), rel=0.01)
    assert dict(mpl.rcParams) == before
    names = figures.save(paper.pictures(several.sections(SEVERAL)), tmp_path)
    assert [path.stem for path in names] == [
        "differences", "accuracies", "trade-off", "training-loss", "training-accuracy", "distances",
    ]  # fmt: skip


def test_a_run_without_some_numbers_has_fewer_figures():
    bare = replace(RUN, results=results({("source", "clean", 0): 0.9}), history=(), banks={})
    assert list(paper.pictures([section for each in classify.SECTIONS if (section := each(bare))])) == ["heat-map"]


def test_a_heat_map_has_numbers_intervals_a_title_and_a_note_that_do_not_touch():
    names = [
        "weak",
        "strong",
        "clean@weak",
        "clean@strong",
        "weak:0.5+strong:0.5",
        "adapted@weak",
        "a/camera.safetensors",
        "p1: weak",
    ]
    table = results({(name, shift, 1): 0.5 for name in names for shift in ("contrast", "gaussian_noise", "spatter")})
    figure = heat_map(heat.of_accuracies(accuracy_grid(table)), "Which bank", "How to read it. " * 20)
    figure.draw_without_rendering()
    (axes,) = figure.axes
    for ticks in (axes.get_xticklabels(), axes.get_yticklabels()):
        boxes = [text.get_window_extent() for text in ticks]
        assert not any(one.overlaps(other) for i, one in enumerate(boxes) for other in boxes[:i])
    heads = [text.get_text() for text in axes.get_xticklabels()]
    assert heads[-2:] == ["camera", "p1:\nweak"]
    assert heads[4] == "weak:0.5\n+strong:0.5"
    texts = [text.get_text() for text in axes.texts]
    assert texts[0] == "50.0"
    assert texts[1].startswith("±")
    assert figure.get_suptitle() == "Which bank"
    assert figure.get_supxlabel().startswith("How to read it.")
