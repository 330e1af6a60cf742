import math

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from renorm import metrics


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def slow(values: Tensor, resamples: int, seed: int = 0) -> list[float]:
    """Percentiles of the means of images picked one by one."""
    own = generator(seed)
    picked = [torch.randint(len(values), (len(values),), generator=own).tolist() for _ in range(resamples)]
    means = sorted(sum(values[i].item() for i in each) / len(each) for each in picked)
    ends = [share * (resamples - 1) for share in (0.025, 0.975)]
    return [means[int(e)] + (e % 1) * (means[math.ceil(e)] - means[int(e)]) for e in ends]


def test_bootstrap_interval_is_that_of_the_binomial():
    values = torch.zeros(400).index_fill(0, torch.arange(320), 1.0)
    interval = metrics.bootstrap(values)
    width = 1.96 * (0.8 * 0.2 / 400) ** 0.5
    assert_close(interval.value, 0.8)
    assert_close(torch.tensor(interval), torch.tensor([0.8, 0.8 - width, 0.8 + width]), rtol=0, atol=0.005)
    assert interval == metrics.bootstrap(values)
    assert f"{interval:.0%}".startswith("80% [")


def test_paired_difference_is_narrower_than_two_intervals():
    a = torch.zeros(300).index_fill(0, torch.arange(150), 1.0)
    b = torch.zeros(300).index_fill(0, torch.arange(140), 1.0)
    paired = metrics.paired_difference(a, b)
    alone = metrics.bootstrap(a)
    assert paired.low > 0
    assert paired.high - paired.low < (alone.high - alone.low) / 2


def test_bootstrap_is_drawing_images_one_by_one():
    values = torch.rand(37, generator=generator(3), dtype=torch.float64)
    found = metrics.bootstrap(values, num_resamples=50)
    assert_close(torch.tensor(found[1:]).double(), torch.tensor(slow(values, 50)).double())


@pytest.mark.parametrize("dtype", [torch.bool, torch.float64])
def test_columns_share_their_resamples(dtype: torch.dtype):
    values = (torch.rand(53, 4, generator=generator(1)) < 0.7).to(dtype)
    found = metrics.bootstrap_columns(values, 5)
    for column, interval in zip(values.unbind(1), found, strict=True):
        assert_close(torch.tensor(interval), torch.tensor(metrics.bootstrap(column, 5)), rtol=1e-6, atol=1e-9)


def test_means_over_separate_images_are_added_and_drawn_apart():
    a, b = (torch.rand(400, generator=generator(i)) < 0.5 for i in (1, 2))
    both = metrics.bootstrap([a, b])
    assert_close(both.value, (a.double().mean() + b.double().mean()).item())
    apart, together = both.high - both.low, metrics.bootstrap(a.double() + a.double())
    assert_close(apart, 2 * 1.96 * (2 * 0.25 / 400) ** 0.5, rtol=0.1, atol=0)
    assert together.high - together.low > 1.3 * apart


def test_the_interval_over_runs_is_students():
    found = metrics.over_runs([90.0, 91.0, 93.0, 94.0])
    half = 3.182446 * (10 / 3) ** 0.5 / 2  # the quantile of three degrees of freedom, from a printed table
    assert_close(torch.tensor(found), torch.tensor([92.0, 92 - half, 92 + half]), rtol=1e-6, atol=0)
    assert metrics.over_runs([5.0]) == (5.0, -math.inf, math.inf)
    for values in ([], [1.0, math.nan]):
        with pytest.raises(ValueError, match=r"cannot average the runs .* at least one finite number.*Leave out"):
            metrics.over_runs(values)


def test_errors_say_what_is_needed():
    with pytest.raises(ValueError, match=r"shape \(0,\).*at least one image.*Pass a vector"):
        metrics.bootstrap(torch.zeros(0))
    with pytest.raises(ValueError, match=r"shape none.*Pass a vector"):
        metrics.bootstrap([])
    with pytest.raises(ValueError, match=r"columns of shape \(3,\).*Stack vectors"):
        metrics.bootstrap_columns(torch.zeros(3))
    with pytest.raises(ValueError, match=r"3 values cannot be paired with 2"):
        metrics.paired_difference(torch.zeros(3), torch.zeros(2))
