"""Two tables are compared image by image, and only where they saw the same pixels."""

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from renorm import metrics
from renorm.evaluate import CellKey, ImageSet, Protocol, Results, differences, mean_accuracy, mean_difference
from tests.evaluate import made

N = 300
PROTOCOL = Protocol(data=ImageSet("some", N, "pixels", "labels"), scale=32, rounding="8-bit", seed=3, weights="a")


def table(seed: int, accuracies: dict[CellKey, float], **protocol: Any) -> Results:
    """A table whose images are hard for every bank alike."""
    hardness = torch.rand(N, generator=torch.Generator().manual_seed(0))
    noise = 0.1 * torch.rand(N, generator=torch.Generator().manual_seed(seed))
    hits = {cell: hardness + noise < accuracy for cell, accuracy in accuracies.items()}
    return made.results(replace(PROTOCOL, **protocol), hits, 0.05, 3)


def share(hits: Tensor) -> float:
    return hits.double().mean().item()


A = table(1, {("weak", "clean", 0): 0.9, ("weak", "contrast", 1): 0.8, ("weak", "contrast", 2): 0.5})
B = table(
    2, {("weak", "clean", 0): 0.9, ("weak", "contrast", 1): 0.8, ("weak", "contrast", 2): 0.7, ("x", "clean", 0): 0.3}
)


def test_differences_are_paired_and_second_minus_first():
    found = {(d.shift, d.severity): d for d in differences(A, B)}
    assert found.keys() == {("clean", 0), ("contrast", 1), ("contrast", 2)}
    for (shift, severity), each in found.items():
        a, b = A.hits["weak", shift, severity], B.hits["weak", shift, severity]
        assert each.accuracies == (share(a), share(b))
        assert each.interval == metrics.paired_difference(b, a, 3)
    assert found["contrast", 2].interval.sure
    assert found["contrast", 2].interval.low > 0.1
    assert not found["clean", 0].interval.sure


def test_different_banks_of_one_table_can_be_compared():
    (found,) = differences(B, B, banks=("weak", "x"))
    assert (found.banks, found.shift) == (("weak", "x"), "clean")
    assert found.interval.high < -0.4
    assert all(d.interval == (0, 0, 0) for d in differences(A, A))


def test_the_mean_over_shifts_draws_images_once_for_all():
    found = mean_accuracy(B, "weak", ["contrast"])
    mean = torch.stack([B.hits["weak", "contrast", s].double() for s in (1, 2)]).mean(0)
    assert_close(torch.tensor(found), torch.tensor(metrics.bootstrap(mean, 3)))
    single = metrics.bootstrap(B.hits["weak", "contrast", 1], 3)
    # images hard under one are hard under the other, so that the mean of two is hardly surer than one of them
    assert 0.7 < (found.high - found.low) / (single.high - single.low) < 1.3
    rows_only = replace(B, values={})
    assert mean_accuracy(rows_only, "weak", ["contrast"]).high == pytest.approx(found.value + 0.05)
    each = [d for d in differences(A, B) if d.shift == "contrast"]
    difference = mean_difference(A, B, each)
    assert_close(difference.value, found.value - mean_accuracy(A, "weak", ["contrast"]).value)
    assert difference.low > 0


def test_images_of_their_own_are_drawn_apart():
    stored = {"photo": ImageSet("pacs", N, "p1", "l1"), "sketch": ImageSet("pacs", N, "p2", "l2")}
    accuracies = {("weak", "photo", 0): 0.5, ("weak", "sketch", 0): 0.5}
    apart = mean_accuracy(table(1, accuracies, stored=stored), "weak", ["photo", "sketch"])
    together = mean_accuracy(table(1, accuracies), "weak", ["photo", "sketch"])
    assert apart.value == together.value
    assert_close((apart.high - apart.low) / (together.high - together.low), 0.5**0.5, rtol=0.1, atol=0)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"scale": 224}, r"differ in scale under contrast 1: 32 and 224.*same --scale. Or add --ignore scale"),
        ({"rounding": "jpeg"}, r"differ in rounding under contrast 1: 8-bit and jpeg.*--ignore rounding"),
        ({"seed": 4}, r"differ in seed under contrast 1: 3 and 4.*same --seed"),
        (
            {"data": ImageSet("other", N, "others", "labels")},
            r"differ in data under clean: some \(pixels\) and other \(others\).*Evaluate both on the same images.$",
        ),
        ({"data": ImageSet("some", 5, "others", "labels")}, r"differ in images under clean: 300 and 5.*--num-images"),
        ({"mean": (0.5,) * 3, "std": (1.0,) * 3}, r"differ in normalization under clean: none and mean 0.5 .*--mean"),
        (
            {"stored": {"contrast 2": ImageSet("f", N, "g", "l")}},
            r"differ in rounding under contrast 2: 8-bit and stored",
        ),
    ],
)
def test_unlike_tables_are_refused(change: dict[str, Any], message: str):
    other = replace(B, protocol=replace(B.protocol, **change))
    with pytest.raises(ValueError, match=message):
        differences(A, other)
    (field,) = change.keys() & {"scale", "rounding", "seed"} or {""}
    if field:
        assert len(differences(A, other, ignore=[field])) == 3


@pytest.mark.parametrize(
    "change",
    [
        {"weights": "b", "mean": (0.5,) * 3, "std": (1.0,) * 3},
        {"model": "other", "banks": {"weak": "file"}, "versions": {"torch": "1"}, "command": "x"},
        {"data": ImageSet("another path", N, "pixels", "labels")},
    ],
)
def test_what_one_compares_may_differ(change: dict[str, Any]):
    assert len(differences(A, replace(B, protocol=replace(B.protocol, **change)))) == 3


def test_only_what_a_shift_depends_on_must_agree():
    clean = replace(B, protocol=replace(B.protocol, scale=224, rounding="jpeg", seed=9))
    clean = replace(clean, values={"accuracy": {("weak", "clean", 0): B.hits["weak", "clean", 0]}})
    assert [d.shift for d in differences(A, clean)] == ["clean"]


def test_what_cannot_be_compared_says_why():
    with pytest.raises(
        ValueError, match=r"the second table says nothing of single images.*Copy it too, or evaluate again"
    ):
        differences(A, replace(B, values={}))
    with pytest.raises(ValueError, match=r"no cell in common for the banks weak and y: .*banks weak under.*--banks"):
        differences(A, B, banks=("weak", "y"))
    with pytest.raises(
        ValueError, match=r"cannot ignore 'data': one of scale, rounding, view, attack, seed, normalization"
    ):
        differences(A, B, ignore=["data"])
    with pytest.raises(ValueError, match=r"no weak under fog: it has banks weak under clean, contrast"):
        mean_accuracy(A, "weak", ["fog"])
