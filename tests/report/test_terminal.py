import io
import re
from dataclasses import replace

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
