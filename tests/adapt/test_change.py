"""The test for a change: its rate of false alarms, its size, and what sorted streams do to it."""

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from renorm.adapt.change import RIDGE, Change, change, joined_looks, look_of, tail
from renorm.adapt.memory import Look, Weights, weights_of
from renorm.functional import Moments


def look(x: Tensor) -> Look:
    """A sample described by its numbers themselves."""
    x = x.double()
    return Look(x.mean(0), x.T.cov(correction=0), x.new_zeros(x.shape[1], x.shape[1]))


def compared(a: Tensor, b: Tensor) -> Change:
    return change(look(a), weights_of(len(a), 1.0), look(b), weights_of(len(b), 1.0))


def drawn(num: int, generator: torch.Generator, width: int = 12) -> Tensor:
    """Descriptions that hang together, as those of channels do."""
    mixing = torch.randn(width, width, generator=torch.Generator().manual_seed(1)) * torch.linspace(0.05, 2, width)
    return torch.randn(num, width, generator=generator) @ mixing


@pytest.mark.parametrize(("before", "now"), [(16, 16), (64, 16), (200, 40)])
def test_false_alarms_are_as_rare_as_asked_for(before: int, now: int):
    generator = torch.Generator().manual_seed(3)
    found = [compared(drawn(before, generator), drawn(now, generator)).probability for _ in range(500)]
    for rate in (0.05, 0.2):
        alarms = sum(p < rate for p in found) / len(found)
        assert 0.4 * rate < alarms < 1.5 * rate, (rate, alarms)


def test_the_law_of_false_alarms_catches_a_test_that_takes_pixels_for_images():
    generator = torch.Generator().manual_seed(3)
    found = []
    for _ in range(100):
        a, b = (look(drawn(n, generator)) for n in (64, 16))
        found.append(change(a, weights_of(64 * 9, 1.0), b, weights_of(16 * 9, 1.0)).probability)  # nine pixels each
    assert sum(p < 0.05 for p in found) > 50


def test_without_a_ridge_it_would_be_the_test_of_hotelling(monkeypatch: pytest.MonkeyPatch):
    scipy = pytest.importorskip("scipy.stats")
    monkeypatch.setattr("renorm.adapt.change.RIDGE", 0.0)
    generator = torch.Generator().manual_seed(4)
    a, b = drawn(60, generator).double(), drawn(30, generator).double() + 0.01
    p, f = 12, 88
    covariance = ((a - a.mean(0)).T @ (a - a.mean(0)) + (b - b.mean(0)).T @ (b - b.mean(0))) / f
    delta = a.mean(0) - b.mean(0)
    square = 20 * delta @ torch.linalg.solve(covariance, delta)
    expected = scipy.f.sf(float(square) * (f - p + 1) / (f * p), p, f - p + 1)
    assert_close(compared(a, b).probability, float(expected), rtol=0.05, atol=0)
    assert RIDGE == 0.1


@pytest.mark.parametrize(("ratio", "a", "b"), [(4.0, 3, 30), (2, 20, 10), (3, 20, 200), (0.5, 8, 12), (1, 1.5, 40.5)])
def test_tails_of_the_f_distribution(ratio: float, a: float, b: float):
    scipy = pytest.importorskip("scipy.stats")
    assert_close(tail(ratio, a, b), float(scipy.f.sf(ratio, a, b)), rtol=0.1, atol=1e-5)


def test_the_size_is_that_of_the_difference_without_chance():
    generator = torch.Generator().manual_seed(5)
    a, b = torch.randn(4000, 6, generator=generator), torch.randn(4000, 6, generator=generator)
    assert compared(a, b).size < 0.03
    found = compared(a, b + 0.5)
    assert_close(found.size, 0.5, rtol=0.05, atol=0)
    assert found.probability < 1e-10


def test_images_without_any_difference():
    same = torch.ones(20, 4)
    assert compared(same, same) == (0.0, 1.0)
    assert compared(same, same + 1) == (torch.inf, 0.0)


def test_too_few_images_for_so_many_descriptions_are_no_change():
    eye = torch.eye(40, dtype=torch.float64)
    a, b = (Look(mean.double(), eye, 0 * eye) for mean in (torch.zeros(40), torch.ones(40)))
    assert change(a, weights_of(3, 1.0), b, weights_of(2, 1.0)) == (0.0, 1.0)
    assert change(a, weights_of(90, 1.0), b, weights_of(60, 1.0)).probability < 1e-6


def sorted_stream(blocks: int, generator: torch.Generator) -> tuple[Look, Weights, Tensor]:
    """Blocks whose means scatter as much as their images do: what is known of them, and one more block."""
    known, weights = None, Weights()
    every = [torch.randn(16, 5, generator=generator) + torch.randn(5, generator=generator) for _ in range(blocks + 1)]
    for block in every[:-1]:
        new = weights_of(16, 1.0)
        known = joined_looks(known, look(block), weights.share_of(new))
        weights = weights.joined(new)
    assert known is not None
    return known, weights, every[-1]


def test_blocks_that_always_differ_are_no_change():
    generator = torch.Generator().manual_seed(7)
    found = []
    for _ in range(60):
        known, weights, block = sorted_stream(8, generator)
        found.append(change(known, weights, look(block), weights_of(16, 1.0)).probability)
    assert sum(p < 0.01 for p in found) <= 6


def test_the_law_of_sorted_streams_catches_a_test_that_does_not_know_of_blocks():
    known, weights, block = sorted_stream(8, torch.Generator().manual_seed(7))
    blind = known._replace(scatter=torch.zeros_like(known.scatter))
    far = change(blind, weights, look(block), weights_of(16, 1.0)).probability
    assert far < change(known, weights, look(block), weights_of(16, 1.0)).probability


def test_how_images_are_described():
    mean, var = torch.tensor([[1.0, 2.0], [3.0, 2.0]]), torch.tensor([[4.0, 0.0], [4.0, 1.0]])
    found = look_of(Moments(mean, var, 9), torch.tensor([4.0, 1.0]), 1.0)
    faint = torch.tensor([0.001, 1.001]).double().log() / 2
    described = torch.stack(
        [torch.tensor([0.5, 1.5]), torch.tensor([2.0, 2.0]), torch.tensor([1.001, 1.001]).log() / 2, faint]
    ).double()
    assert_close(found.mean, described.mean(1), rtol=1e-6, atol=1e-6)
    assert_close(found.covariance, described.cov(correction=0), rtol=1e-6, atol=1e-6)


def test_many_channels_are_thinned_out():
    wide = torch.rand(4, 700)
    assert look_of(Moments(wide, wide, 9), torch.ones(700), 1.0).covariance.shape == (468, 468)
