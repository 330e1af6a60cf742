"""The picture of accuracy against the number of images shows the numbers of the curve."""

import pytest
import torch
from matplotlib import colors

from renorm.evaluate import Curve, CurvePlan, Method, Protocol
from renorm.evaluate.curve_points import CurvePoint
from renorm.report import by_images, figures, terminal
from renorm.report.colors import FAINT
from renorm.shifts import Shift
from tests.report.test_terminal import shown

METHODS = {method.label: method for method in map(Method.named, ("source", "auto", "16"))}
HOW = CurvePlan(METHODS, (1, 8, 64), 2, torch.arange(10), torch.arange(10, 99), seed=3)


def made(*shifts: Shift) -> Curve:
    draws = [
        {
            name: [CurvePoint(0.5 + 0.1 * place * index + 0.02 * draw, 0.5) for place in range(3)]
            for index, name in enumerate(METHODS)
        }
        for draw in range(2)
    ]
    protocol = Protocol(model="net", command="renorm adapt net --curve")
    return Curve(protocol, HOW, shifts, tuple(tuple(draws) for _ in shifts))


def test_lines_and_bands_are_the_means_and_intervals():
    found = made(Shift("contrast", 3))
    (axes,) = by_images.figure(found).axes
    assert axes.get_title() == "contrast 3"
    assert axes.get_xscale() == "log"
    assert [text.get_text() for text in axes.get_xticklabels()] == ["1", "8", "64"]
    lines = {str(line.get_label()): line for line in axes.get_lines()}
    assert list(lines) == ["source", "auto", "prior 16"]
    assert lines["source"].get_linestyle() == "--"
    assert colors.to_hex(lines["source"].get_color()) == FAINT
    for name, line in lines.items():
        expected = [100 * cell.accuracy.value for cell in found.line(name)]
        assert list(line.get_xdata()) == [1, 8, 64]  # type: ignore[arg-type]
        assert list(line.get_ydata()) == pytest.approx(expected)  # type: ignore[arg-type]
    assert len(axes.collections) == 2
    corners = axes.collections[0].get_paths()[0].vertices
    low, high = found.line("auto")[1].accuracy[1:]
    assert {round(float(y), 6) for x, y in corners if x == 8} == {round(100 * low, 6), round(100 * high, 6)}  # type: ignore[union-attr]


def test_several_shifts_have_a_panel_each_and_one_for_their_mean():
    figure = by_images.figure(made(Shift("contrast", 3), Shift("contrast", 5), Shift("fog", 1), Shift("clean")))
    titles = [axes.get_title() for axes in figure.axes]
    assert titles == ["mean over 3 shifts", "contrast, mean of 2 severities", "fog 1", "clean"]


def test_the_picture_says_how_it_was_made():
    figure = by_images.figure(made(Shift("clean")))
    caption = " ".join(figure.get_supxlabel().split())
    assert "2 draws" in caption
    assert "seeds 4 to 5" in caption
    assert "judged on the same 10 other images, seed 3" in caption
    assert caption.endswith("renorm adapt net --curve")
    assert figures.png(figure).startswith(b"\x89PNG")


def test_the_table_has_the_numbers_of_the_curve():
    text = shown(terminal.by_images(made(Shift("clean"))))
    assert "2 draws" in text
    (line,) = [line for line in text.splitlines() if line.strip().startswith("prior 16")]
    assert "51.0 ±" in line
    assert "91.0 ±" in line
