import re
from html.parser import HTMLParser

import pytest

from renorm.metrics import Interval
from renorm.report import colors, heat
from renorm.report.grid import accuracies, grid
from tests.report.made import results

CELLS = {(bank, "contrast", s): 0.5 + 0.1 * s for bank in ("weak", "banks/a<b>.safetensors") for s in (1, 2)}
TABLE = results(CELLS | {("weak", "clean", 0): 0.9, ("weak", "fog", 1): 0.9})
GRID = grid({bank: accuracies(TABLE, bank) for bank in TABLE.banks}, TABLE.shifts)


class Rows(HTMLParser):
    """The texts of a table's cells, row by row, and whether elements are closed as they were named."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.rows: list[list[str]] = []
        self.open: list[str] = []
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag != "wbr":
            self.open.append(tag)
        if tag == "tr":
            self.rows.append([])
        elif tag in ("td", "th"):
            self.rows[-1].append("")

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if {"td", "th"} & set(self.open):
            self.rows[-1][-1] += data


def test_a_row_per_shift_that_opens_into_severities():
    rows = Rows(heat.of_accuracies(GRID)).rows
    assert [row[0] for row in rows] == [
        "", "clean", "weather", "fog 1", "digital", "contrast", "severity 1", "severity 2", "mean over 2 corruptions",
    ]  # fmt: skip
    assert rows[0][1:] == ["weak", "a<b>"]
    assert [re.sub(r"±\d.\d", "", cell) for cell in rows[5][1:]] == ["65.0", "65.0"]
    assert rows[1][2] == "-"


def test_files_are_named_without_their_folder_and_in_full_on_hover():
    text = heat.of_accuracies(GRID)
    assert 'title="banks/a&lt;b&gt;.safetensors"' in text
    assert "<b>" not in text


def test_the_best_of_a_row_is_bold_where_there_is_a_choice():
    assert heat.of_accuracies(GRID).count('class="best"') == 2 + 2 * 3 + 1
    alone = grid({"weak": accuracies(TABLE, "weak")}, TABLE.shifts)
    assert 'class="best"' not in heat.of_accuracies(alone)


def test_differences_have_signs_and_intervals():
    numbers = [Interval(0.05, 0.03, 0.07), Interval(-0.02, -0.05, 0.01)]
    found = grid({"b": lambda groups: list(numbers[: len(groups)])}, [("clean", 0)])
    assert Rows(heat.of_changes(found)).rows[1] == ["clean", "+5.0+3.0 to +7.0"]


def test_one_run_has_no_spread_over_seeds():
    wide = grid({"b": lambda groups: [Interval(0.5, float("-inf"), float("inf")) for _ in groups]}, [("clean", 0)])
    assert "one run" in heat.of_accuracies(wide)


def test_colors_go_from_low_to_high_and_numbers_are_readable():
    def luminance(color: str) -> float:
        parts = [int(color[i : i + 2], 16) / 255 for i in (1, 3, 5)]
        linear = [p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    for stops in (colors.SEQUENTIAL, colors.DIVERGING):
        shades = [colors.color(i / 100, stops) for i in range(101)]
        assert (shades[0], shades[-1]) == (stops[0], stops[-1])
        for shade in shades:
            light, dark = sorted((luminance(shade), luminance(colors.ink_on(shade))), reverse=True)
            assert (light + 0.05) / (dark + 0.05) > 3.5
    brightness = [luminance(colors.color(i / 100, colors.SEQUENTIAL)) for i in range(101)]
    assert brightness == sorted(brightness, reverse=True)


def test_noise_is_not_painted_as_news():
    close = [Interval(0.97, 0.95, 0.99), Interval(0.971, 0.95, 0.99)]
    assert colors.span(close) == pytest.approx((0.871, 0.971))
    sure, unsure = Interval(0.05, 0.04, 0.06), Interval(0.05, -0.04, 0.14)
    assert colors.of_change(sure, [sure]) == colors.DIVERGING[-1]
    assert colors.of_change(unsure, [sure]) not in (colors.DIVERGING[-1], colors.DIVERGING[3])
