import math

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from renorm import metrics
from tests.metrics.samples import A, B, drawn


def slow(real: Tensor, fake: Tensor, k: int) -> list[float]:
    """Ball by ball."""
    x, y = real.tolist(), fake.tolist()
    radii = [
        [sorted(math.dist(p, q) for j, q in enumerate(s) if j != i)[k - 1] for i, p in enumerate(s)] for s in (x, y)
    ]
    real_balls = [[math.dist(p, q) < r for p, r in zip(x, radii[0], strict=True)] for q in y]  # of each fake
    fake_balls = [[math.dist(p, q) < r for q, r in zip(y, radii[1], strict=True)] for p in x]  # of each real
    covered = [any(column) for column in zip(*real_balls, strict=True)]
    return [
        sum(map(any, real_balls)) / len(y),
        sum(map(any, fake_balls)) / len(x),
        sum(map(sum, real_balls)) / (k * len(y)),
        sum(covered) / len(x),
    ]


def naive(real: Tensor, fake: Tensor, k: int) -> list[float]:
    """Closed balls that count an image as its own neighbour, by distances from products."""
    radii = [torch.cdist(s, s).kthvalue(k, 1).values for s in (real, fake)]
    distance = torch.cdist(real, fake)
    in_real, in_fake = distance <= radii[0][:, None], distance <= radii[1]
    shares = [in_real.any(0), in_fake.any(1), in_real.double().sum(0) / k, in_real.any(1)]
    return [share.double().mean().item() for share in shares]


def test_published_numbers():
    assert_close(list(metrics.neighbours(A, B, k=3)), [0.6, 0.983333, 0.516667, 0.65], rtol=0, atol=5e-7)
    with pytest.raises(AssertionError):
        assert_close(naive(A, B, 3), [0.6, 0.983333, 0.516667, 0.65], rtol=0, atol=5e-7)


@pytest.mark.parametrize("k", [1, 2, 5])
@pytest.mark.parametrize(("n", "m", "d"), [(23, 17, 3), (17, 23, 1)])
def test_equals_a_slow_loop(n: int, m: int, d: int, k: int):
    real, fake = drawn(n, d, 0), 0.8 * drawn(m, d, 1) + 0.3
    assert_close(list(metrics.neighbours(real, fake, k)), slow(real, fake, k), rtol=1e-12, atol=1e-12)


def test_whole_numbers_tie_and_balls_are_open():
    real = (2 * drawn(60, 2, 0)).round()  # many distances are equal, some are 0
    fake = (2 * drawn(50, 2, 1)).round()
    for move in (0.0, 1000.0):
        assert_close(list(metrics.neighbours(real + move, fake + move, 3)), slow(real, fake, 3), rtol=1e-12, atol=0)
    with pytest.raises(AssertionError):
        assert_close(naive(real, fake, 3), slow(real, fake, 3), rtol=1e-12, atol=0)


def test_a_set_and_itself():
    same = metrics.neighbours(A, A.clone(), k=3)
    assert (same.precision, same.recall, same.coverage) == (1, 1, 1)
    assert_close(same.density, 1.0)  # itself and the k - 1 that are nearer than the k-th


def test_moving_and_turning_change_nothing():
    real, fake = drawn(50, 4, 0), drawn(40, 4, 1)
    turned = torch.linalg.qr(drawn(4, 4, 2)).Q
    value = metrics.neighbours(real, fake)
    assert metrics.neighbours(3 * real @ turned + 100, 3 * fake @ turned + 100) == value
    assert metrics.neighbours(real.flip(0), fake.roll(3, 0)) == value


def test_what_each_tells():
    real = drawn(300, 3, 0)
    one = real[:1] + 0.01 * drawn(100, 3, 1)  # all alike, and like a real one
    far = drawn(100, 3, 2) + 50
    collapsed, elsewhere = metrics.neighbours(real, one), metrics.neighbours(real, far)
    assert collapsed.precision == 1
    assert collapsed.recall < 0.05
    assert collapsed.coverage < 0.1
    assert list(elsewhere) == [0, 0, 0, 0]
    alike = metrics.neighbours(real, drawn(300, 3, 3))
    assert 0.8 < alike.density < 1.2
    assert alike.coverage > 0.9


def test_images_all_the_same_have_balls_that_hold_nothing():
    same = torch.full((20, 3), 0.1).expand(20, 3) + 7
    assert list(metrics.neighbours(same, same, k=2)) == [0, 0, 0, 0]


def test_blocks_of_pairs_are_all_pairs(monkeypatch: pytest.MonkeyPatch):
    value = metrics.neighbours(A, B, k=3)
    monkeypatch.setitem(metrics.neighbours.__globals__, "PAIRS", 130)
    assert metrics.neighbours(A, B, k=3) == value


def test_k_is_less_than_the_images():
    assert metrics.neighbours(A[:6], B[:6], k=5).precision >= 0
    with pytest.raises(ValueError, match=r"\(60, 4\) and \(5, 4\) were given.*of at least 6 images\. Take more images"):
        metrics.neighbours(A, B[:5])
    with pytest.raises(ValueError, match=r"k=0 was given\. Balls reach .*Use k=1 or more; 5 is usual"):
        metrics.neighbours(A, B, k=0)
