import pytest
from torch.testing import assert_close

from renorm import metrics
from renorm.corruptions import CORRUPTIONS, HELD_OUT, STANDARD
from renorm.evaluate import ImageSet, Results, differences, mean_accuracy, mean_difference
from renorm.report.grid import (
    FAMILIES,
    MEAN,
    OTHER,
    accuracies,
    changes,
    curves_of,
    family_of,
    grid,
    halves,
    mixture,
)
from tests.report.made import results

TABLE = results()


def test_every_corruption_has_one_family_in_the_published_order():
    assert [name for names in FAMILIES.values() for name in names] == list(CORRUPTIONS)
    assert [family_of(name) for name in ("clean", "strong", "sketch")] == ["", "", OTHER]


def test_accuracies_are_means_with_the_intervals_of_evaluate():
    groups = [[("clean", 0)], [("contrast", 1), ("contrast", 2)], [("contrast", 2), ("fog", 1)]]
    clean, contrast, missing = accuracies(TABLE, "weak")(groups)
    assert clean == mean_accuracy(TABLE, "weak", ["clean"])
    assert_close(contrast, mean_accuracy(TABLE, "weak", ["contrast"]))
    assert contrast
    assert contrast.value == pytest.approx(0.5)
    assert missing is None


def test_a_table_without_hits_has_intervals_that_are_upper_bounds():
    (found,) = accuracies(Results(TABLE.protocol, TABLE.rows), "weak")([[("contrast", 1), ("contrast", 2)]])
    assert found == pytest.approx((0.5, 0.48, 0.52))


def test_changes_are_paired_by_image():
    other = results({("weak", "contrast", 1): 0.7, ("weak", "contrast", 2): 0.5}, seed=1)
    (found,) = changes(TABLE, other, ("weak", "weak"))([[("contrast", 1), ("contrast", 2)]])
    assert found is not None
    assert_close(found, mean_difference(TABLE, other, differences(TABLE, other)))
    assert found.value == pytest.approx(0.1)
    alone = metrics.bootstrap(other.hits["weak", "contrast", 2], 5)
    assert halves(found) < 0.6 * halves(alone)


def test_sets_of_images_are_drawn_apart():
    stored = {name: ImageSet("pacs", 200, name, name) for name in ("photo", "sketch")}
    table = results({("weak", "photo", 0): 0.5, ("weak", "sketch", 0): 0.5}, stored=stored)
    apart, alone = accuracies(table, "weak")([[("photo", 0), ("sketch", 0)], [("photo", 0)]])
    assert apart == mean_accuracy(table, "weak", ["photo", "sketch"])
    assert apart
    assert alone
    assert halves(apart) == pytest.approx(halves(alone) / 2**0.5, rel=0.15)


def test_lines_are_ordered_by_family_and_open_into_severities():
    cells = {("weak", name, s): 0.5 for name in ("sketch", "contrast", "fog", "gaussian_noise") for s in (2, 1)}
    table = results(cells | {("weak", "clean", 0): 0.9, ("weak", "zoom_blur", 3): 0.9})
    found = grid({"weak": accuracies(table, "weak")}, table.shifts)
    names = [(line.name, line.family, [part.name for part in line.parts]) for line in found.lines]
    assert names == [
        ("clean", "", []),
        ("gaussian noise", "noise", ["1", "2"]),
        ("zoom blur 3", "blur", []),
        ("fog", "weather", ["1", "2"]),
        ("contrast", "digital", ["1", "2"]),
        ("sketch", OTHER, ["1", "2"]),
        ("mean over 4 corruptions", MEAN, []),
    ]
    mean = found.lines[-1].cells[0]
    assert mean
    assert mean.value == pytest.approx((6 * 0.5 + 0.9) / 7)
    assert len(found.numbers()) == 7 + 8


def test_the_mean_of_the_standard_ones_stands_apart_where_there_are_others():
    table = results({("weak", name, 1): 0.5 for name in (*STANDARD, HELD_OUT[0])})
    lines = grid({"weak": accuracies(table, "weak")}, table.shifts).lines
    assert [line.name for line in lines[-2:]] == ["mean over 16 corruptions", "mean over 15 standard corruptions"]


def test_what_a_bank_lacks_is_no_number():
    table = results({("weak", "contrast", 1): 0.5, ("weak", "contrast", 2): 0.5, ("strong", "contrast", 1): 0.5})
    (line,) = grid({bank: accuracies(table, bank) for bank in table.banks}, table.shifts).lines
    assert [cell is None for cell in line.cells] == [False, True]
    assert [cell is None for cell in line.parts[0].cells] == [False, False]


def test_no_columns_are_no_numbers():
    table = results({("weak", name, 1): 0.5 for name in ("contrast", "fog")})
    assert grid({}, table.shifts).numbers() == []


def test_mixtures_are_lines_between_their_ends():
    assert mixture("weak:0.3+strong:0.7") == {"weak": 0.3, "strong": 0.7}
    for other in ("weak", "clean@weak", "a+b", "weak:0.5+strong:0.5.safetensors"):
        assert mixture(other) == {}
    banks = ["weak", "strong", "weak:0.25+strong:0.75", "clean@weak", "weak:0.5+strong:0.5", "a:0.5+b:0.5"]
    assert list(curves_of(banks)) == [
        ["a:0.5+b:0.5"],
        ["weak", "weak:0.5+strong:0.5", "weak:0.25+strong:0.75", "strong"],
    ]
