import numpy as np
import pytest
import torch
from scipy.linalg import sqrtm
from torch import Tensor
from torch.testing import assert_close
from torchmetrics.image.fid import FrechetInceptionDistance

from renorm import metrics
from tests.metrics.samples import A, B, Given, drawn


def by_roots(a: Tensor, b: Tensor) -> float:
    """As the formula stands, with roots of eigenvalues that are clipped at 0."""

    def root(s: Tensor) -> Tensor:
        values, vectors = torch.linalg.eigh(s)
        return vectors @ torch.diag(values.clamp(min=0).sqrt()) @ vectors.T

    s, t = a.T.cov(), b.T.cov()
    common = torch.linalg.eigvalsh(root(s) @ t @ root(s)).clamp(min=0).sqrt().sum()
    return ((a.mean(0) - b.mean(0)).square().sum() + s.trace() + t.trace() - 2 * common).item()


def by_scipy(a: Tensor, b: Tensor) -> float:
    s, t = a.T.cov().numpy(), b.T.cov().numpy()
    gap = (a.mean(0) - b.mean(0)).square().sum().item()
    return gap + float(np.trace(s) + np.trace(t) - 2 * np.trace(sqrtm(s @ t)).real)


def naive(a: Tensor, b: Tensor) -> float:
    """Covariances over n."""
    return by_scipy(a * (1 - 1 / len(a)) ** 0.5, b * (1 - 1 / len(b)) ** 0.5)


def test_published_number():
    assert_close(metrics.frechet(A, B), 1.249553444819, rtol=0, atol=1e-11)


@pytest.mark.parametrize(("n", "m", "d"), [(60, 40, 4), (200, 31, 7), (5, 50, 3)])
def test_equals_the_formula_scipys_and_torchmetrics(n: int, m: int, d: int):
    a, b = drawn(n, d, 0), 1.5 * drawn(m, d, 1) @ drawn(d, d, 2) + 0.3
    found = metrics.frechet(a, b)
    assert_close(found, by_roots(a, b), rtol=1e-9, atol=1e-9)
    assert_close(found, by_scipy(a, b), rtol=1e-9, atol=1e-9)
    other = FrechetInceptionDistance(feature=Given(d))
    other.update(a, real=True)
    other.update(b, real=False)
    assert_close(found, other.compute().item(), rtol=1e-6, atol=1e-6)
    with pytest.raises(AssertionError):
        assert_close(naive(a, b), found, rtol=1e-4, atol=0)


@pytest.mark.parametrize("n", [500, 20])
def test_a_set_and_itself_are_not_apart(n: int):
    a = 100 * drawn(n, 64, 0)
    assert abs(metrics.frechet(a, a.clone())) < 1e-8
    if n < 64:  # roots of eigenvalues that should be 0 and are not
        with pytest.raises(AssertionError):
            assert abs(by_roots(a, a.clone())) < 1e-8


def test_one_number_is_the_distance_of_means_and_deviations():
    a, b = drawn(30, 1, 0), 2 * drawn(40, 1, 1) + 3
    expected = (a.mean() - b.mean()) ** 2 + (a.std() - b.std()) ** 2
    assert_close(metrics.frechet(a, b), expected.item())


def test_moving_turning_and_the_order_of_images():
    a, b = drawn(80, 5, 0), drawn(60, 5, 1) * torch.arange(1, 6)
    turned = torch.linalg.qr(drawn(5, 5, 2)).Q
    value = metrics.frechet(a, b)
    assert_close(metrics.frechet(b, a), value)
    assert_close(metrics.frechet(a @ turned + 7, b @ turned + 7), value)
    assert_close(metrics.frechet(a.flip(0), b), value)
    assert_close(metrics.frechet(3 * a, 3 * b), 9 * value)
    assert_close(metrics.frechet(a, a + 2), 20.0)


def test_fewer_images_of_one_distribution_are_further_apart():
    distances = [metrics.frechet(drawn(n, 16, 0), drawn(n, 16, 1)) for n in (50, 200, 1000)]
    assert distances[0] > 2 * distances[1] > 4 * distances[2]


def test_half_precision_is_computed_in_float64():
    a, b = A.half() + 30, B.half() + 30
    assert_close(metrics.frechet(a, b), metrics.frechet(a.double(), b.double()), rtol=0, atol=0)


@pytest.mark.parametrize("measure", [metrics.frechet, metrics.kid, metrics.neighbours])
def test_what_cannot_be_compared_is_refused(measure):
    with pytest.raises(
        ValueError, match=r"shape \(60, 4\) and \(40, 3\) were given.*of one network and of at least \d images"
    ):
        measure(A, B[:, :3])
    with pytest.raises(ValueError, match=r"\(60, 4\) and \(1, 4\) were given.*Take more images, and flatten"):
        measure(A, B[:1])
    with pytest.raises(ValueError, match=r"\(60, 2, 2\) and \(40, 2, 2\) were given"):
        measure(A.view(60, 2, 2), B.view(40, 2, 2))
    broken = B.clone()
    broken[3, 1], broken[3, 2], broken[7, 0] = torch.nan, torch.inf, -torch.inf
    with pytest.raises(
        ValueError, match=r"2 of 40 images on the second side have features that are not finite.*Look at these"
    ):
        measure(A, broken)
