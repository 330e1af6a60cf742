import re

import pytest

from renorm.metrics import Interval
from renorm.report import summary
from tests.report.made import ACCURACIES, results

TABLE = results()


def test_points_average_corruptions_and_keep_clean_apart():
    weak, strong, _ = summary.points(TABLE)
    assert (weak.bank, weak.clean.value, weak.robust.value) == ("weak", pytest.approx(0.95), pytest.approx(0.5))
    assert (strong.clean.value, strong.robust.value) == (pytest.approx(0.93), pytest.approx(0.7))
    assert strong.robust.low < 0.7 < strong.robust.high


def test_the_finding_says_who_leads_where_and_by_how_much():
    text = summary.finding(TABLE)
    assert "On 200 clean images the bank weak has the highest accuracy, 95.0 % (± " in text
    assert "which may be chance: clean@weak cannot be told from it. Under" in text
    assert "Under contrast strong leads with 70.0 % on average, 20.0 points above weak (+" in text
    assert "paired by image), at a cost of 2.0 points on clean images" in text
    assert re.search(r"changes clean accuracy by −1.0 \(−\d.\d to [+−]\d.\d\) points for weak.", text)


def test_one_bank_that_is_best_everywhere_is_said_to_be():
    better = results({cell: 0.99 if cell[0] == "strong" else a for cell, a in ACCURACIES.items()})
    assert "It is also the most robust, with 99.0 %" in summary.finding(better)
    alone = results({cell: a for cell, a in ACCURACIES.items() if cell[0] == "weak"})
    assert "It has 50.0 % on average under contrast" in summary.finding(alone)


def test_a_lead_that_may_be_chance_is_said_to_be():
    close = {(bank, shift, 0): a for bank, a in (("weak", 0.81), ("strong", 0.805)) for shift in ("clean", "photo")}
    text = summary.finding(results(close))
    assert "the bank weak has the highest accuracy, 81.0 %" in text
    assert "It also has the highest, 81.0 % on average on photo" in text
    assert text.count("which may be chance: strong cannot be told from it") == 2
    sure = results({**close, ("strong", "clean", 0): 0.6, ("strong", "photo", 0): 0.6})
    assert "chance" not in summary.finding(sure)


def test_what_adapting_changes_is_told_with_the_shift_of_most():
    cells = {("source", "clean", 0): 0.9, ("source", "fog", 1): 0.5, ("source", "contrast", 5): 0.1}
    adapted = {("adapted", *cell[1:]): a + gain for (cell, a), gain in zip(cells.items(), (0.0, 0.1, 0.7), strict=True)}
    text = summary.adapting(results(cells | adapted))
    assert text.startswith("Adapting source changes its accuracy by +40.0 (")
    assert "points on average under 2 corruptions, most under contrast 5: by +70.0 (" in text
    assert summary.adapting(results(cells)) == ""
    assert summary.sources(["weak", "adapted@weak", "adapted@strong"]) == {"adapted@weak": "weak"}


def test_tables_without_clean_images_or_without_corruptions():
    domains = {(bank, shift, 0): a for bank, a in (("weak", 0.5), ("strong", 0.6)) for shift in ("sketch", "photo")}
    assert summary.finding(results(domains)).startswith("The bank strong is the most accurate over 2 shifts: 60.0 %")
    clean = {("weak", "clean", 0): 0.9, ("strong", "clean", 0): 0.8}
    assert "On 2 other sets of images strong leads" in summary.finding(results(domains | clean))
    assert summary.finding(results({("weak", "clean", 0): 0.9})).startswith("The bank weak has under clean: 90.0 %")
    apart = results({("weak", "clean", 0): 0.9, ("strong", "fog", 1): 0.8})
    assert summary.finding(apart) == "No bank was evaluated under all shifts of the table."


def test_long_intervals_do_not_squeeze_the_points():
    close = [Interval(0.90, 0.89, 0.91), Interval(0.95, 0.93, 0.97)]
    low, high = summary.limits(close)
    assert low < 0.89
    assert high > 0.97
    long = [Interval(0.90, 0.1, 1.7), Interval(0.95, float("-inf"), float("inf"))]
    low, high = summary.limits(long)
    assert 0.84 < low < 0.85
    assert 1.0 < high < 1.02
