"""A channel moves by half of what is beyond its noise, and not at all for chance."""

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

import renorm
from renorm.adapt.excess import Estimate, estimate, image_moments, moved, soft
from renorm.banks import Statistics
from tests.banks.models import small, unchanged

N, C, SIDE = 7, 5, 3


def features(seed: int = 0, *, images: int = N) -> Tensor:
    """Images that differ: pixels of one are alike."""
    g = torch.Generator().manual_seed(seed)
    level, contrast = torch.randn(images, C, 1, 1, generator=g), torch.rand(images, C, 1, 1, generator=g)
    return level + contrast * torch.randn(images, C, SIDE, SIDE, generator=g)


def source(mean: float = 0.0, var: float = 1.3) -> Statistics:
    return Statistics(torch.full((C,), mean), torch.full((C,), var))


def by_hand(x: Tensor, source: Statistics, weight: float) -> list[tuple[float, float]]:
    """Mean and variance of every channel, in Python floats."""
    out = []
    for c in range(x.shape[1]):
        values = [[float(v) for v in image[c].flatten()] for image in x.double()]
        whole = [v for image in values for v in image]
        mean = sum(whole) / len(whole)
        var = sum((v - mean) ** 2 for v in whole) / (len(whole) - 1)
        means = [sum(image) / len(image) for image in values]
        squares = [sum((v - mean) ** 2 for v in image) / len(image) for image in values]
        new = []
        for found, old, each in ((mean, source.mean[c], means), (var, source.var[c], squares)):
            middle = sum(each) / len(each)
            error = math.sqrt(sum((e - middle) ** 2 for e in each) / (len(each) - 1) / len(each))
            step = found - float(old)
            beyond = max(abs(step) - 6 * weight * error, 0.0)
            new.append(float(old) + (1 - weight) * math.copysign(beyond, step))
        out.append((new[0], new[1]))
    return out


@pytest.mark.parametrize("old", [source(), source(3.0, 0.1), source(-0.4, 9.0)])
@pytest.mark.parametrize("weight", [0.0, 0.2, 0.5])
def test_it_equals_a_loop_over_values(old: Statistics, weight: float):
    x = features()
    new = moved(old, estimate(image_moments(x, N)), weight)
    expected = torch.tensor(by_hand(x, old, weight))
    assert_close(new.mean, expected[:, 0], rtol=1e-5, atol=1e-6)
    assert_close(new.var, expected[:, 1], rtol=1e-5, atol=1e-6)


def test_what_chance_may_explain_leaves_the_source_bit_for_bit():
    x = features()
    found = estimate(image_moments(x, N))
    near = Statistics(found.mean + 2.9 * found.mean_error.sqrt(), found.var - 2.9 * found.var_error.sqrt())
    new = moved(near, found, 0.5)
    assert_close((new.mean, new.var), (near.mean, near.var), rtol=0, atol=0)
    far = Statistics(found.mean + 3.1 * found.mean_error.sqrt(), found.var)
    assert (moved(far, found, 0.5).mean < far.mean).all(), "or nothing is ever moved"


@pytest.mark.parametrize("only", ["mean", "variance"])
def test_one_of_the_two_moves_alone(only: renorm.adapt.Only):
    old, found = source(5.0, 30.0), estimate(image_moments(features(), N))
    new, both = moved(old, found, 0.5, only), moved(old, found, 0.5)
    assert_close(new.mean, both.mean if only == "mean" else old.mean, rtol=0, atol=0)
    assert_close(new.var, both.var if only == "variance" else old.var, rtol=0, atol=0)


def test_where_the_source_keeps_nothing_noise_counts_for_nothing():
    old, found = source(0.1, 1.0), estimate(image_moments(features(), N))
    new = moved(old, found, 0.0)
    assert_close((new.mean, new.var), (found.mean, found.var))


def by_pixels(x: Tensor) -> Estimate:
    """As if pixels were independent, as published for single images."""
    m = image_moments(x, len(x))
    var, mean = x.transpose(0, 1).flatten(1).var(1), x.mean((0, 2, 3))
    count = len(x) * m.count
    return Estimate(mean, var, var / count, 2 * var.square() / count)


def false_alarms(of: Callable[[Tensor], Estimate]) -> float:
    """How many channels move although nothing was shifted."""
    many = features(9, images=4000)
    home = Statistics(many.mean((0, 2, 3)), many.transpose(0, 1).flatten(1).var(1))
    news = [moved(home, of(features(seed, images=32)), 0.5) for seed in range(100)]
    return sum(float((new.mean != home.mean).double().mean()) for new in news) / len(news)


def test_pixels_of_one_image_are_not_taken_for_many():
    assert false_alarms(lambda x: estimate(image_moments(x, len(x)))) < 0.02
    assert false_alarms(by_pixels) > 0.2, "the naive rule must be caught by this test"


def test_rows_of_one_image_count_as_one():
    x = features()
    as_rows = x.reshape(N, C, SIDE, SIDE).permute(0, 3, 1, 2).reshape(N * SIDE, C, SIDE)
    whole, parts = image_moments(x, N), image_moments(as_rows, N, "sample")
    assert_close((parts.mean, parts.var, parts.count), (whole.mean, whole.var, whole.count))


def test_soft_is_continuous_and_odd():
    x = torch.linspace(-5, 5, 101)
    y = soft(x, torch.tensor(2.0))
    assert_close(y, -y.flip(0))
    assert ((y[1:] - y[:-1]).abs() <= 0.1 + 1e-6).all()


def test_a_home_of_real_noise_is_kept_by_the_whole_model():
    model = small().eval()
    g = torch.Generator().manual_seed(0)
    renorm.recalibrate_(model, [torch.randn(512, 3, 8, 8, generator=g)], passes=2)
    with unchanged(model):
        assert renorm.adapt_(model, torch.randn(32, 3, 8, 8, generator=g)).source_weight == 1
