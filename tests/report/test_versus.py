from dataclasses import replace
from typing import Any

import pytest
import torch
from torch.testing import assert_close

from renorm.evaluate import Protocol, differences, mean_difference
from renorm.report.grid import ShiftKey
from renorm.report.record import Record, Side, sides
from renorm.report.versus import Versus, common_seeds, paired, versus
from tests.report.made import ACCURACIES, record

CONTRAST: list[ShiftKey] = [("contrast", 1), ("contrast", 2)]
PLAIN = {("source", *cell[1:]): value - 0.1 for cell, value in ACCURACIES.items() if cell[0] == "weak"}


def better(by: float, seed: int) -> dict:
    """The same table with higher accuracies, by another amount for each seed."""
    return {cell: min(1.0, value + by + 0.01 * seed) for cell, value in ACCURACIES.items()}


def compared(*runs: Record, banks: tuple[str, ...] = ()) -> Versus:
    return versus(sides(runs), banks)


def test_single_runs_are_paired_by_image():
    a, b = record("a", 1), record("b", 2, better(0.05, 0), hits=1, rate=0.2)
    found = compared(a, b)
    assert found.banks == (("weak", "weak"), ("strong", "strong"), ("clean@weak", "clean@weak"))
    line = next(line for line in found.changes.lines if line.name == "contrast")
    expected = [d for d in differences(a.results, b.results) if (d.banks[0], d.shift) == ("weak", "contrast")]
    assert_close(line.cells[0], mean_difference(a.results, b.results, expected))
    assert found.changes.columns == ("weak", "strong", "clean@weak")
    assert "says nothing of other seeds" in found.how(found.sides[1])
    (text, *_) = found.findings()
    assert text.startswith("b (weak) against a (weak): +5.0 points on clean images (")
    assert "under contrast on average" in text


def test_seeds_are_paired_and_give_students_interval():
    runs = [record(f"a-{s}", s) for s in (0, 1, 2)]
    runs += [record(f"b-{s}", s, better(0.02, s), hits=s, rate=0.2) for s in (2, 1, 0, 7)]
    found = compared(*runs)
    assert [side.name for side in found.sides] == ["a", "b"]
    assert common_seeds(*found.sides) == [0, 1, 2]
    (number,) = paired(found.sides[0], found.sides[1], ("weak", "weak"))([[("clean", 0)]])
    assert number is not None
    values = torch.tensor([0.02, 0.03, 0.04], dtype=torch.float64)
    half = 4.302653 * float(values.std()) / 3**0.5  # Student's quantile of 0.975 with two degrees of freedom
    assert number == pytest.approx((0.03, 0.03 - half, 0.03 + half), abs=1e-6)
    assert found.how(found.sides[1]) == "mean over the seeds 0 1 2, paired by seed, with Student's 95 % interval"


def test_pairing_by_seed_is_narrower_than_two_means():
    spread = {seed: 0.04 * (seed - 1) for seed in (0, 1, 2)}
    runs = [record(f"a-{s}", s, {c: v - 0.1 + spread[s] for c, v in ACCURACIES.items()}) for s in spread]
    runs += [record(f"b-{s}", s, {c: v - 0.05 + spread[s] for c, v in ACCURACIES.items()}, rate=0.2) for s in spread]
    found = compared(*runs)
    (change,) = paired(found.sides[0], found.sides[1], ("weak", "weak"))([[("clean", 0)]])
    accuracy = found.accuracies.lines[0].cells[0]
    assert change
    assert accuracy
    assert change.low == pytest.approx(0.05, abs=1e-9)
    assert accuracy.high - accuracy.low > 0.15


def test_banks_of_other_names_are_the_first_of_each_or_those_named():
    split, plain = record("split"), record("plain", 3, PLAIN, norm="shared")
    assert compared(plain, split).banks == (("source", "weak"),)
    assert compared(plain, split).changes.columns == ("weak - source",)
    assert compared(plain, split, banks=("source", "strong")).banks == (("source", "strong"),)
    assert compared(split, record("b", rate=0.2), banks=("strong",)).banks == (("strong", "strong"),)


def test_only_shifts_that_all_have_are_compared():
    fewer = {cell: value for cell, value in ACCURACIES.items() if cell[1:] != ("contrast", 1)}
    assert compared(record("a"), record("b", 3, fewer, rate=0.2)).shifts == (("clean", 0), ("contrast", 2))


def test_points_are_those_of_all_banks():
    found = compared(record("split"), record("plain", 3, PLAIN, norm="shared"))
    assert {name: [p.bank for p in points] for name, points in found.points.items()} == {
        "split": ["weak", "strong", "clean@weak"],
        "plain": ["source"],
    }
    clean = {cell: value for cell, value in ACCURACIES.items() if cell[1] == "clean"}
    assert compared(record("a", 3, clean), record("b", 3, clean, rate=0.2)).points == {}


def test_one_side_of_several_seeds_has_no_differences():
    found = compared(record("a-0", 0), record("a-1", 1))
    assert found.changes.columns == ()
    assert found.findings() == []


def with_protocol(run: Record, **values: Any) -> Record:
    return replace(run, results=replace(run.results, protocol=replace(run.results.protocol, **values)))


A, B = record("a"), record("b", 4, rate=0.2)
OTHER_CELLS = {("weak", "fog", 1): 0.5}


@pytest.mark.parametrize(
    ("runs", "banks", "message"),
    [
        (
            [A, with_protocol(B, scale=224)],
            (),
            r"a and b cannot stand side by side: .*in scale .*: 32 and 224.*same --scale.$",
        ),
        ([A, with_protocol(B, seed=6)], (), r"differ in seed under contrast 1: 5 and 6"),
        (
            [A, record("b", 3, OTHER_CELLS, rate=0.2)],
            (),
            r"no cell in common: a has banks .*; b has banks weak.*Evaluate all",
        ),
        (
            [A, replace(B, results=replace(B.results, protocol=Protocol()))],
            (),
            r"table of b does not say how it was made.*results.safetensors.*Copy it",
        ),
        ([A, replace(B, results=replace(B.results, values={}))], (), r"table of b does not say.*evaluate again"),
        ([A, B], ("weak", "stron"), r"b has no bank 'stron': one of weak, strong, clean@weak is needed.*--banks"),
        ([A, B], ("weak", "weak", "weak"), r"3 banks for the 2 that are compared \(a, b\): .* is needed. Name as many"),
        (
            [record("a-0", 0), record("a-1", 1), B],
            (),
            r"a has the seeds 0 1 and b 4: two or more.*Train with the same --seed",
        ),
    ],
    ids=["scale", "seed", "cells", "protocol", "hits", "bank", "banks", "seeds"],
)
def test_what_cannot_be_compared(runs: list[Record], banks: tuple[str, ...], message: str):
    with pytest.raises(ValueError, match=message):
        versus(sides(runs), banks)


def test_an_unknown_protocol_is_not_like_another_unknown_one():
    unknown = [replace(run, results=replace(run.results, protocol=Protocol())) for run in (A, B)]
    with pytest.raises(ValueError, match="does not say how it was made"):
        versus([Side(run.name, (run,)) for run in unknown])
