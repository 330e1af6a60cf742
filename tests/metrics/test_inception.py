import math

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close
from torchmetrics.image.inception import InceptionScore

from renorm import metrics
from tests.metrics.samples import Given, features

LOGITS = 2 * features(30, 5, 0)


def slow(logits: Tensor, num_splits: int) -> float:
    """Image by image, for splits of one size."""
    p = logits.softmax(1).tolist()
    size, scores = len(p) // num_splits, []
    for start in range(0, len(p), size):
        part = p[start : start + size]
        mean = [sum(column) / size for column in zip(*part, strict=True)]
        kl = [sum(v * math.log(v / m) for v, m in zip(row, mean, strict=True)) for row in part]
        scores.append(math.exp(sum(kl) / size))
    return sum(scores) / num_splits


def naive(logits: Tensor) -> float:
    """Exp inside the mean over images."""
    p = logits.softmax(1)
    return (p * (p / p.mean(0)).log()).sum(1).exp().mean().item()


def test_published_numbers():
    assert_close(metrics.inception_score(LOGITS, 1), 1.451531825979, rtol=0, atol=1e-11)
    assert_close(metrics.inception_score(LOGITS, 3), 1.446931167632, rtol=0, atol=1e-11)
    with pytest.raises(AssertionError):
        assert_close(naive(LOGITS), 1.451531825979, rtol=1e-3, atol=0)


@pytest.mark.parametrize("num_splits", [1, 2, 5, 10])
def test_equals_a_slow_loop(num_splits: int):
    assert_close(metrics.inception_score(LOGITS, num_splits), slow(LOGITS, num_splits), rtol=1e-12, atol=0)


@pytest.mark.filterwarnings("ignore:Metric `InceptionScore` will save all:UserWarning")
def test_equals_torchmetrics():
    other = InceptionScore(feature=Given(5), splits=3)
    other.update(LOGITS)
    torch.manual_seed(4)
    value = other.compute()[0].item()
    torch.manual_seed(4)
    shuffled = LOGITS[torch.randperm(len(LOGITS))]
    assert_close(metrics.inception_score(shuffled, 3), value, rtol=1e-9, atol=0)


def test_from_one_to_the_number_of_classes():
    assert_close(metrics.inception_score(torch.zeros(40, 7)), 1.0)
    assert_close(metrics.inception_score(1000 * torch.eye(7)[[3] * 40]), 1.0)
    assert_close(metrics.inception_score(1000 * torch.eye(7).repeat(20, 1)), 7.0)
    assert_close(metrics.inception_score(LOGITS + 300), metrics.inception_score(LOGITS))


def test_splits_need_two_images_each():
    metrics.inception_score(LOGITS[:20])
    with pytest.raises(
        ValueError, match=r"shape \(19, 5\) in 10 splits were given.*two images for each split\. Generate more"
    ):
        metrics.inception_score(LOGITS[:19])
    with pytest.raises(ValueError, match=r"shape \(30, 5\) in 0 splits"):
        metrics.inception_score(LOGITS, 0)
    with pytest.raises(ValueError, match="Finite"):
        metrics.inception_score(LOGITS / 0)
