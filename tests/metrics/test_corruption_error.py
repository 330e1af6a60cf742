"""The mean corruption error: AlexNet is 100, and only where its errors were published."""

import pytest
import torch
from torch.testing import assert_close

from renorm import metrics
from renorm.corruptions import STANDARD
from renorm.metrics import ALEXNET


@pytest.mark.parametrize("data", ALEXNET)
def test_alexnets_own_errors_are_100(data: str):
    errors = metrics.alexnet(data).errors
    assert list(errors) == list(STANDARD)
    assert_close(metrics.corruption_error(errors, data), 100.0)
    assert_close(metrics.corruption_error({name: e / 4 for name, e in errors.items()}, data), 25.0)


def test_alexnets_own_relative_errors_are_100():
    reference = metrics.alexnet("imagenet")
    assert reference.clean is not None
    assert_close(metrics.relative_corruption_error(reference.errors, reference.clean, "imagenet"), 100.0)
    flat: dict[str, float] = dict.fromkeys(STANDARD, 0.3)
    assert metrics.relative_corruption_error(flat, 0.3, "imagenet") == 0


def test_the_published_row_of_a_resnet20_on_cifar10():
    """The mCE of the accuracies that Benz et al. print for a ResNet-20 before and after adapting."""
    source = [41.67, 52.84, 54.66, 77.57, 45.96, 69.87, 70.88, 74.86, 70.44, 83.35, 89.79, 70.27, 78.37, 66.70, 75.80]
    adapted = [64.32, 66.32, 64.79, 81.95, 58.01, 76.37, 78.69, 69.83, 71.05, 81.38, 82.43, 80.11, 74.79, 75.83, 68.60]
    for accuracies, mce in ((source, 106.40), (adapted, 90.69)):
        errors = {name: 1 - accuracy / 100 for name, accuracy in zip(STANDARD, accuracies, strict=True)}
        assert_close(metrics.corruption_error(errors, "cifar10"), mce, rtol=0, atol=0.01)


def test_what_images_contribute_averages_to_the_whole():
    wrong = {name: (torch.rand(50) < 0.4).double() for name in STANDARD}
    means = {name: each.mean().item() for name, each in wrong.items()}
    assert_close(metrics.corruption_error(wrong, "imagenet").mean().item(), metrics.corruption_error(means, "imagenet"))
    clean = (torch.rand(50) < 0.2).double()
    relative = metrics.relative_corruption_error(wrong, clean, "imagenet").mean().item()
    assert_close(relative, metrics.relative_corruption_error(means, clean.mean().item(), "imagenet"))


def test_without_a_published_table_there_is_no_mce():
    errors = metrics.alexnet("cifar10").errors
    with pytest.raises(
        ValueError, match=r"for 'tinyimagenet': there are tables for imagenet, cifar10, cifar100.*Did you"
    ):
        metrics.corruption_error(errors, "tinyimagenet")
    with pytest.raises(ValueError, match=r"for 'pacs': there are tables .*Report the mean error"):
        metrics.corruption_error(errors, "pacs")
    with pytest.raises(ValueError, match=r"no clean error of AlexNet .*'cifar10'.*known for imagenet. Report the mCE"):
        metrics.relative_corruption_error(errors, 0.1, "cifar10")


def test_all_fifteen_and_no_other_are_needed():
    errors = dict(metrics.alexnet("cifar10").errors)
    with pytest.raises(ValueError, match=r"16 corruptions, with saturate not among them.*--shifts standard"):
        metrics.corruption_error(errors | {"saturate": 0.1}, "cifar10")
    del errors["fog"]
    with pytest.raises(ValueError, match=r"14 corruptions, with fog missing.*exactly the fifteen"):
        metrics.corruption_error(errors, "cifar10")
