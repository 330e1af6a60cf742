import pytest

from renorm.metrics import Interval
from renorm.report import colors, heat
from renorm.report.grid import Measure, accuracies, accuracy_grid, grid
from renorm.report.heat import HeatCell, HeatTable
from tests.report.made import results

CELLS = {(bank, "contrast", s): 0.5 + 0.1 * s for bank in ("weak", "banks/a<b>.safetensors") for s in (1, 2)}
TABLE = results(CELLS | {("weak", "clean", 0): 0.9, ("weak", "fog", 1): 0.9})
FOUND = heat.of_accuracies(accuracy_grid(TABLE))


def cells(table: HeatTable) -> list[HeatCell]:
    rows = [row for group in table.groups for row in group.rows]
    return [cell for row in rows for each in (row, *row.parts) for cell in each.cells if cell]


def test_a_row_per_shift_that_opens_into_severities():
    assert [(group.heading, [row.name for row in group.rows]) for group in FOUND.groups] == [
        ("", ["clean"]),
        ("weather", ["fog 1"]),
        ("digital", ["contrast"]),
        ("", ["mean over 2 corruptions"]),
    ]
    contrast = FOUND.groups[2].rows[0]
    assert [part.name for part in contrast.parts] == ["1", "2"]
    assert [cell and cell.text for cell in contrast.cells] == ["65.0", "65.0"]
    assert FOUND.groups[0].rows[0].cells[1] is None
    assert FOUND.opens


def test_files_are_named_without_their_folder_and_in_full_on_hover():
    assert [(column.short, column.name) for column in FOUND.columns] == [
        ("weak", "weak"),
        ("a<b>", "banks/a<b>.safetensors"),
    ]


def test_only_a_lead_that_is_no_chance_is_bold():
    assert not any(cell.bold for cell in cells(FOUND)), "equal banks"
    table = results({("weak", "clean", 0): 0.60, ("strong", "clean", 0): 0.80, ("mid", "clean", 0): 0.61})
    assert [cell.bold for cell in cells(heat.of_accuracies(accuracy_grid(table)))] == [False, True, False]
    close = results({("weak", "clean", 0): 0.800, ("strong", "clean", 0): 0.805, ("mid", "clean", 0): 0.6})
    assert not any(cell.bold for cell in cells(heat.of_accuracies(accuracy_grid(close))))
    alone = grid({"weak": accuracies(TABLE, "weak")}, TABLE.shifts)
    assert not any(cell.bold for cell in cells(heat.of_accuracies(alone)))


def constant(number: Interval) -> Measure:
    return lambda groups: [number for _ in groups]


def test_differences_have_signs_and_intervals():
    numbers = [Interval(0.05, 0.03, 0.07), Interval(-0.02, -0.05, 0.01)]
    measures: dict[str, Measure] = {str(number): constant(number) for number in numbers}
    sure, unsure = cells(heat.of_changes(grid(measures, [("clean", 0)])))
    assert (sure.text, sure.below, sure.bold) == ("+5.0", "+3.0 to +7.0", True)
    assert (unsure.text, unsure.below, unsure.bold) == ("−2.0", "−5.0 to +1.0", False)
    assert unsure.title == "−2.0, 95 % interval −5.0 to 1.0; may be chance"


def test_one_run_has_no_spread_over_seeds():
    wide = grid({"b": lambda groups: [Interval(0.5, float("-inf"), float("inf")) for _ in groups]}, [("clean", 0)])
    assert cells(heat.of_accuracies(wide))[0].below == "one run"


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
