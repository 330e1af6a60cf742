import io
import re
from dataclasses import replace

import pytest
from rich.console import Console

from renorm.report import terminal
from tests.report.made import results


def shown(renderable: object, width: int = 100) -> str:
    console = Console(width=width, record=True, file=io.StringIO())
    console.print(renderable)
    return console.export_text()


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


def test_long_names_are_not_cut_in_a_narrow_terminal():
    names = ["weak", "strong", "adapted@strong", "weak:0.5+strong:0.5", "clean@weak", "clean@strong", "adapted@weak"]
    text = shown(terminal.results(results({(name, "contrast", 1): 0.5 for name in names})), width=80)
    assert "…" not in text


def test_distances_are_bars_in_the_models_order_and_the_farthest_are_kept():
    moved = {"bn1": 1.0, "layer1.bn": 0.25, "layer2.bn": 0.01, "layer3.bn": 0.5}
    lines = shown(terminal.distances(moved, most=3, width=8)).splitlines()
    bars = {line.split()[0]: line.count(terminal.BAR) for line in lines if terminal.BAR in line}
    assert bars == {"bn1": 8, "layer1.bn": 2, "layer3.bn": 4}
    assert "1 nearer sites left out, their median is 0.010" in " ".join(" ".join(lines).split())
    (overall,) = [line for line in lines if "all 4 sites" in line]
    assert float(overall.split()[-1]) == pytest.approx(((1 + 0.25**2 + 0.01**2 + 0.5**2) / 4) ** 0.5, abs=1e-3)


def test_distances_stand_beside_what_chance_gives():
    lines = shown(terminal.distances({"bn1": 1.0, "bn2": 0.5}, {"bn1": 0.25, "bn2": 0.6})).splitlines()
    assert next(line for line in lines if "bn1" in line).split()[-2:] == ["1.000", "0.250"]
    (overall,) = [line for line in lines if "all 2 sites" in line]
    assert float(overall.split()[-1]) == pytest.approx(((0.25**2 + 0.6**2) / 2) ** 0.5, abs=1e-3)
    single = shown(terminal.distances({"bn1": 0.0}, {"bn1": float("inf")}))
    assert single.count("unknown") == 2
