"""What a table comes to: means of corruptions, and the mean corruption error where errors of AlexNet fit."""

from dataclasses import replace

import pytest
import torch

from renorm.corruptions import STANDARD
from renorm.evaluate import CellKey, ImageSet, Protocol, check_standard, overview
from renorm.metrics import ALEXNET
from renorm.shifts import Shift
from tests.evaluate import made


def test_the_mean_corruption_error_is_there_where_there_is_one():
    cells: list[CellKey] = [("source", name, severity) for name in STANDARD for severity in range(1, 6)]
    hits = {cell: torch.arange(200) < 200 * (1 - ALEXNET["cifar10"].errors[cell[1]]) for cell in cells}
    protocol = Protocol(data=ImageSet("data/cifar10", 200, "a", "b"), classes=10, scale=32)
    found = overview(made.results(protocol, hits))
    assert list(found) == ["mean of 15 corruptions", "mCE, cifar10 AlexNet 100"]
    assert found["mean of 15 corruptions"]["source"].value == pytest.approx(68.5, abs=0.5)
    assert found["mCE, cifar10 AlexNet 100"]["source"].value == pytest.approx(100, abs=1)
    unknown = replace(protocol, data=ImageSet("others", 200, "a", "b"))
    assert "mCE" not in " ".join(overview(made.results(unknown, hits)))
    assert "mCE, cifar100 AlexNet 100" in overview(made.results(unknown, hits), "cifar100")


def test_some_of_the_corruptions_are_no_mean_corruption_error():
    with pytest.raises(
        ValueError, match=r"gaussian_noise 2, gaussian_noise 3, .* are not among .* Add --shifts standard"
    ):
        check_standard([Shift("gaussian_noise", 1)])
