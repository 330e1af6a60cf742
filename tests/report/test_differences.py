"""The table of differences has the numbers that evaluation gives."""

import pytest

from renorm.evaluate import differences, mean_difference
from renorm.report import terminal
from renorm.report.grid import grid
from tests.report.made import ACCURACIES, results
from tests.report.test_terminal import shown

A = results()
B = results({cell: accuracy + 0.05 for cell, accuracy in ACCURACIES.items()}, seed=1)


def test_severities_are_averaged_and_paired():
    text = shown(terminal.differences(A, B, ("weak", "weak"), A.shifts))
    (line,) = [line for line in text.splitlines() if line.startswith("contrast 1-2")]
    found = [each for each in differences(A, B) if (each.banks[0], each.shift) == ("weak", "contrast")]
    value, low, high = (100 * each for each in mean_difference(A, B, found))
    assert line.split()[2:] == ["50.0", "55.0", f"{value:+.1f}", f"{low:+.1f}", "to", f"{high:+.1f}"]
    assert text.splitlines()[0].rstrip() == "bank weak"


def test_two_banks_of_one_table():
    text = shown(terminal.differences(A, A, ("strong", "weak"), [("clean", 0)]))
    assert text.startswith("bank strong of A, bank weak of B")
    assert "+2.0" in text
    assert "contrast" not in text


@pytest.mark.parametrize(("severities", "title"), [((1, 2), "contrast 1-2"), ((2,), "contrast 2")])
def test_a_line_is_called_by_its_severities(severities: tuple[int, ...], title: str):
    (line,) = grid({}, [("contrast", severity) for severity in severities]).lines
    assert line.title == title
