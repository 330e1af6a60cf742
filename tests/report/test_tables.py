import io
import re

from rich.console import Console

from renorm.report import tables
from tests.report.made import results


def shown(renderable: object, width: int = 100) -> str:
    console = Console(width=width, record=True, file=io.StringIO())
    console.print(renderable)
    return console.export_text()


def test_the_table_averages_severities():
    text = shown(tables.results(results()))
    assert re.search(r"contrast 1-2\s+50.0 ±\d.\d\s+70.0 ±\d.\d\s+51.0 ±\d.\d", text)
    assert "200 images" in text


def test_a_missing_cell_is_a_dash():
    found = results({("weak", "clean", 0): 0.95, ("strong", "contrast", 1): 0.8})
    assert re.search(r"clean\s+95.0 ±\d.\d\s+-", shown(tables.results(found)))


def test_long_names_are_not_cut_in_a_narrow_terminal():
    names = ["weak", "strong", "adapted@strong", "weak:0.5+strong:0.5", "clean@weak", "clean@strong", "adapted@weak"]
    text = shown(tables.results(results({(name, "contrast", 1): 0.5 for name in names})), width=80)
    assert "…" not in text


def test_distances_are_bars_in_the_models_order_and_the_farthest_are_kept():
    moved = {"bn1": 1.0, "layer1.bn": 0.25, "layer2.bn": 0.01, "layer3.bn": 0.5}
    lines = shown(tables.distances(moved, most=3, width=8)).splitlines()
    bars = {line.split()[0]: line.count(tables.BAR) for line in lines if tables.BAR in line}
    assert bars == {"bn1": 8, "layer1.bn": 2, "layer3.bn": 4}
    assert "1 nearer sites left out" in lines[-1]
