"""Mean corruption errors of a table, with intervals of images drawn once for all cells."""

from dataclasses import replace

import pytest
import torch
from torch.testing import assert_close

from renorm import metrics
from renorm.corruptions import STANDARD
from renorm.evaluate import (
    CellKey,
    ImageSet,
    Protocol,
    Results,
    known_reference,
    lacking,
    mean_accuracy,
    mean_corruption_error,
    relative_mean_corruption_error,
)
from tests.evaluate import made

N = 500
CELLS: list[CellKey] = [
    ("weak", "clean", 0),
    *(("weak", name, severity) for name in STANDARD for severity in range(1, 6)),
]


@pytest.fixture
def results() -> Results:
    hardness = torch.rand(N, generator=torch.Generator().manual_seed(0))
    hits = {cell: hardness < 0.9 - 0.1 * cell[2] - 0.01 * i / 5 for i, cell in enumerate(CELLS)}
    return made.results(Protocol(data=ImageSet("ImageNet val", N, "a", "b"), classes=1000, scale=224), hits)


def errors(results: Results) -> dict[str, float]:
    found = {name: [row.value for row in results.rows if row.shift == name] for name in STANDARD}
    return {name: 1 - sum(values) / 5 for name, values in found.items()}


def test_the_mean_corruption_error_of_a_table(results: Results):
    found = mean_corruption_error(results, "weak", "imagenet")
    assert_close(found.value, metrics.corruption_error(errors(results), "imagenet"))
    # every cell is hard on the same images: the interval is as wide as that of one cell with the mean error
    p = mean_accuracy(results, "weak", STANDARD).value
    width = 2 * 1.96 * 100 * (p * (1 - p) / N) ** 0.5 * found.value / (100 * (1 - p))
    assert 0.6 * width < found.high - found.low < 1.2 * width
    relative = relative_mean_corruption_error(results, "weak", "imagenet")
    clean = 1 - results.rows[0].value
    assert_close(relative.value, metrics.relative_corruption_error(errors(results), clean, "imagenet"))
    assert relative.low < relative.value < relative.high


def test_a_missing_cell_is_named(results: Results):
    few = replace(
        results,
        values={
            "accuracy": {cell: h for cell, h in results.hits.items() if cell[1:] not in [("fog", 3), ("clean", 0)]}
        },
    )
    with pytest.raises(ValueError, match=r"has weak with fog 3 missing.*--shifts clean standard"):
        mean_corruption_error(few, "weak", "imagenet")
    no_clean = replace(
        results, values={"accuracy": {cell: h for cell, h in results.hits.items() if cell[1] != "clean"}}
    )
    with pytest.raises(ValueError, match=r"has weak with clean missing"):
        relative_mean_corruption_error(no_clean, "weak", "imagenet")
    with pytest.raises(ValueError, match=r"has strong with gaussian_noise 1, .* missing"):
        mean_corruption_error(results, "strong", "imagenet")
    apart = replace(results, protocol=replace(results.protocol, stored={"clean": ImageSet("other", N, "c", "d")}))
    assert lacking(apart, "weak") == ""
    with pytest.raises(ValueError, match=r"has weak with cells of several sets of images: .*all of the same images"):
        relative_mean_corruption_error(apart, "weak", "imagenet")
    with pytest.raises(ValueError, match=r"no errors of AlexNet were published for 'pacs'"):
        mean_corruption_error(results, "weak", "pacs")


@pytest.mark.parametrize(
    ("name", "classes", "scale", "expected"),
    [
        ("/data/CIFAR-10/test.parquet", 10, 32, "cifar10"),
        ("cifar100 (test)", 100, 32, "cifar100"),
        ("imagenet/val", 1000, 224, "imagenet"),
        ("CIFAR-10-C", 10, None, "cifar10"),
        ("cifar10", 10, 224, None),
        ("imagenet/val", 1000, 64, None),
        ("tiny-imagenet", 200, 64, None),
        ("imagenet-r", 200, None, None),
        ("digits", 10, 32, None),
    ],
)
def test_whose_reference_fits_is_known_by_name_classes_and_scale(
    name: str, classes: int, scale: int | None, expected: str | None
):
    protocol = Protocol(data=ImageSet(name, 9, "a", "b"), classes=classes, scale=scale)
    assert known_reference(protocol) == expected
    read = replace(protocol, data=None, stored={"fog 1": ImageSet(name, 9, "a", "b")})
    assert known_reference(read) == expected
    assert known_reference(Protocol()) is None
