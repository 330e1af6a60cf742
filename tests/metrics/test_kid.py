import pytest
import torch
from torch import Tensor
from torch.testing import assert_close
from torchmetrics.image.kid import poly_mmd

from renorm import metrics
from renorm.metrics.features import two_sets
from tests.metrics.samples import A, B, drawn


def kernel(x: list[float], y: list[float]) -> float:
    return (sum(v * w for v, w in zip(x, y, strict=True)) / len(x) + 1) ** 3


def slow(a: Tensor, b: Tensor) -> float:
    """Pair by pair."""
    x, y = a.tolist(), b.tolist()
    within = [
        sum(kernel(s[i], s[j]) for i in range(len(s)) for j in range(len(s)) if i != j) / (len(s) * (len(s) - 1))
        for s in (x, y)
    ]
    return sum(within) - 2 * sum(kernel(v, w) for v in x for w in y) / (len(x) * len(y))


def biased(a: Tensor, b: Tensor) -> float:
    """With the pairs of an image and itself."""
    kernels = [(x @ y.T / a.shape[1] + 1) ** 3 for x, y in ((a, a), (b, b), (a, b))]
    means = [k.mean().item() for k in kernels]
    return means[0] + means[1] - 2 * means[2]


def test_published_numbers():
    assert_close(metrics.kid(A, B), 5.088964926799, rtol=0, atol=1e-10)
    assert_close(metrics.kid(A[:40], B), 4.749323451868, rtol=0, atol=1e-10)


@pytest.mark.parametrize(("n", "m", "d"), [(11, 7, 3), (2, 2, 1), (20, 31, 5)])
def test_equals_a_slow_loop(n: int, m: int, d: int):
    a, b = drawn(n, d, 0), 2 * drawn(m, d, 1) + 0.5
    assert_close(metrics.kid(a, b), slow(a, b), rtol=1e-11, atol=1e-11)
    assert_close(metrics.kid(b, a), slow(a, b), rtol=1e-11, atol=1e-11)
    with pytest.raises(AssertionError):
        assert_close(biased(a, b), slow(a, b), rtol=1e-3, atol=1e-3)


def test_equals_torchmetrics_on_one_subset_of_all():
    a, b = drawn(50, 8, 0), drawn(50, 8, 1) + 0.2
    assert_close(metrics.kid(a, b), poly_mmd(a, b).item(), rtol=1e-11, atol=1e-11)


def test_blocks_of_pairs_are_all_pairs(monkeypatch: pytest.MonkeyPatch):
    value = metrics.kid(A, B)
    monkeypatch.setitem(metrics.kid.__globals__, "PAIRS", 100)
    assert_close(metrics.kid(A, B), value, rtol=1e-12, atol=0)


def halves(measure) -> list[float]:
    """Random halves of one set, compared."""
    orders = (torch.randperm(60, generator=torch.Generator().manual_seed(i)) for i in range(200))
    return [measure(A[order[:25]], A[order[25:]]) for order in orders]


def near_zero(values: list[float]) -> None:
    mean, error = torch.tensor(values).mean().item(), torch.tensor(values).std().item() / len(values) ** 0.5
    assert abs(mean) < 3 * error


def test_it_is_zero_in_the_mean_over_random_halves():
    near_zero(halves(metrics.kid))
    with pytest.raises(AssertionError):
        near_zero(halves(biased))


def test_two_sets_are_float64_and_detached():
    a, b = two_sets(A.float().requires_grad_(), B.half(), fewest=2)
    assert a.dtype == b.dtype == torch.float64
    assert not a.requires_grad
