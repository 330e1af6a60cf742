"""Tables for the terminal: their numbers, what is green, and 80 columns."""

import io
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace

import pytest
import torch
from rich.console import Console

from renorm.evaluate import Curve, CurvePlan, Method, Protocol
from renorm.evaluate.curve_points import CurvePoint
from renorm.metrics import Interval
from renorm.report import bars, terminal
from renorm.shifts import Shift
from tests.report.made import results


def shown(renderable: object, width: int = 100) -> str:
    console = Console(width=width, record=True, file=io.StringIO())
    console.print(renderable)
    return console.export_text()


def curve(
    sizes: tuple[int, ...] = (8,), draws: Sequence[Mapping[str, float]] = ({"source": 0.5}, {"source": 0.6})
) -> Curve:
    """A curve of these accuracies, the same for all numbers of images."""
    methods = {name: Method.named(name) for name in draws[0]}
    plan = CurvePlan(methods, sizes, len(draws), torch.arange(10), torch.arange(10, 99))
    points = [{name: [CurvePoint(value, 0.5)] * len(sizes) for name, value in draw.items()} for draw in draws]
    return Curve(Protocol(model="net"), plan, (Shift("clean"),), (tuple(points),))


def test_the_table_averages_severities():
    text = shown(terminal.results(results()))
    assert re.search(r"contrast 1-2\s+50.0 ±\d.\d\s+70.0 ±\d.\d\s+51.0 ±\d.\d", text)
    assert "200 images" in text


def test_shifts_of_unlike_sizes_are_told_apart():
    found = results()
    uneven = replace(found, rows=[replace(row, count=12 if row.shift == "clean" else 1500) for row in found.rows])
    assert "over 12 to 1,500 images" in shown(terminal.results(uneven), width=120)


def test_a_missing_cell_is_a_dash():
    found = results({("weak", "clean", 0): 0.95, ("strong", "contrast", 1): 0.8})
    assert re.search(r"clean\s+95.0 ±\d.\d\s+-", shown(terminal.results(found)))


LONG = ["weak", "strong", "adapted@strong", "weak:0.5+strong:0.5", "clean@weak", "clean@strong", "adapted@weak"]
SITE = "backbone.features.denseblock4.denselayer32.norm2_of_the_second_stage"
MEANS = {"mean of 15 corruptions": dict.fromkeys(LONG, Interval(68.5, 67.1, 69.9))}


@pytest.mark.parametrize(
    ("table", "names"),
    [
        (terminal.results(results({(name, "jpeg_compression", 1): 0.5 for name in LONG})), LONG),
        (terminal.overall(MEANS), LONG),
        (terminal.differences(results(), results(seed=1), ("weak", "weak"), [("contrast", 1)]), ["A", "B", "B - A"]),
        (terminal.by_images(curve(sizes=tuple(2**n for n in range(12)))), [str(2**n) for n in range(12)]),
        (bars.distances({SITE: 1.0, "bn": 0.5}, {SITE: 0.1, "bn": 0.1}), ["site", "distance", "by chance"]),
    ],
    ids=["results", "overall", "differences", "curve", "distances"],
)
def test_every_table_tells_its_columns_apart_at_80_columns(table: object, names: list[str]):
    text = shown(table, width=80)
    assert "…" not in text
    assert max(map(len, text.splitlines())) <= 80
    pieces = [piece for name in names for piece in name.replace("+", " +").replace("@", "@ ").split()]
    assert Counter(pieces) <= Counter(text.split())


@pytest.mark.parametrize(("late", "leader"), [(0.62, "auto"), (0.52, None)])
def test_green_is_what_leads_by_more_than_chance(late: float, leader: str | None):
    found = curve(draws=[{"source": 0.50, "auto": 0.60}, {"source": 0.51, "auto": late}, {"source": 0.5, "auto": 0.61}])
    assert found.leaders() == [leader]
    console = Console(record=True, file=io.StringIO(), force_terminal=True)
    console.print(terminal.by_images(found))
    assert console.export_text(styles=True).count("\x1b[1;32m") == (leader is not None)
