"""Random numbers of an image."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from renorm.corruptions.random import PerImage, stable_seed


def test_seeds_are_stable_for_ever():
    assert stable_seed(0, "weak", 17) == 905360648257296563
    assert stable_seed(1, 23) != stable_seed(12, 3)
    assert stable_seed(1) != stable_seed("1")


def test_numbers_are_stable_for_ever():
    draw = PerImage([0, -1, 2**65 + 3], "fog", 3)
    assert draw.bits((3,)).tolist() == [
        [485350972, 213947521, -874386397],
        [858514079, -817065463, 331249088],
        [-129697032, -981779335, 854656167],
    ]


def mix(x: int) -> int:
    """SplitMix64 in integers of any size."""
    x = (x + 0x9E3779B97F4A7C15) % 2**64
    x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9 % 2**64
    x = (x ^ (x >> 27)) * 0x94D049BB133111EB % 2**64
    return x ^ (x >> 31)


def number(seed: int, key: tuple[int | str, ...], i: int) -> int:
    """The i-th number of a stream, as signed 32 bits."""
    keys = mix(mix(seed % 2**64) ^ stable_seed(*key))
    x = (i + keys) % 2**32
    x = ((x ^ (x >> 17)) * 0xED5AD4BB + (keys >> 32)) % 2**32
    x = (x ^ (x >> 11)) * 0xAC4C1B51 % 2**32
    x = (x ^ (x >> 15)) * 0x31848BAB % 2**32
    x ^= x >> 14
    return x - 2**32 if x >= 2**31 else x


@pytest.mark.parametrize("seed", [0, 7, -5, 2**63, 2**64 - 1])
def test_numbers_equal_a_slow_hash(seed: int):
    found = PerImage([1, seed], "snow", 5).bits((2, 9))[1].flatten()
    assert found.tolist() == [number(seed, ("snow", 5), i) for i in range(18)]


def test_a_stream_goes_on_and_a_part_begins_again():
    draw = PerImage(range(5), "fog", 3)
    both = torch.cat((draw.bits((2, 3)), draw.bits((2, 3))), dim=1)
    assert torch.equal(both, PerImage(range(5), "fog", 3).bits((4, 3)))
    assert torch.equal(draw[1:3].bits((4, 3)), both[1:3])
    assert torch.equal(draw.bits(()), PerImage(range(5), "fog", 3).bits((13,))[:, 12])


def test_large_batches_equal_small_ones():
    shape = (3, 64, 64)
    whole = PerImage(range(40), "a").normal(shape)
    assert torch.equal(whole[37:], PerImage(range(37, 40), "a").normal(shape))


def test_uniform_numbers():
    u = PerImage(range(40), "u").uniform((10_000,))
    assert u.dtype == torch.float32
    assert (u * 2**24 == (u * 2**24).round()).all()
    assert u.amin() >= 0
    assert u.amax() < 1
    counts = torch.histc(u, 100, 0, 1)
    assert ((counts - 4000).square() / 4000).sum() < 160  # chi-square, 99 degrees of freedom
    shifted = PerImage(range(40), "u").uniform((10_000,), -45, 45)
    assert_close(shifted, 90 * u - 45, rtol=0, atol=1e-5)


def test_normal_numbers():
    z = PerImage(range(40), "z").normal((10_000,)).double()
    moments = torch.stack([(z**k).mean() for k in (1, 2, 3, 4)])
    assert_close(moments, torch.tensor([0.0, 1.0, 0.0, 3.0]).double(), rtol=0, atol=0.04)
    expected = torch.special.ndtr(torch.linspace(-3, 3, 13).double())
    found = torch.stack([(z < edge).double().mean() for edge in torch.linspace(-3, 3, 13)])
    assert_close(found, expected, rtol=0, atol=0.004)
    assert z.abs().amax() < 5.5


@pytest.mark.parametrize(("low", "high"), [(-4, 4), (0, 1), (0, 3), (5, 1000), (0, 2**24)])
def test_integers(low: int, high: int):
    n = PerImage(range(20), "n").integers((10_000,), low, high)
    assert n.dtype == torch.int32
    assert n.amin() >= low
    assert n.amax() < high
    expected = (high - 1 + low) / 2
    assert_close(n.double().mean().item(), expected, rtol=0, atol=0.01 * (high - low))
    if high - low <= 8:
        assert_close(
            torch.bincount(n.flatten() - low).double(),
            torch.full((high - low,), 2e5 / (high - low)).double(),
            rtol=0.03,
            atol=0,
        )


def test_the_largest_number_is_no_integer_too_many(monkeypatch: pytest.MonkeyPatch):
    draw = PerImage([0], "n")
    monkeypatch.setattr(draw, "bits", lambda shape: torch.full((1, *shape), 2**31 - 1, dtype=torch.int32))
    assert draw.uniform((1,)).item() == 1 - 2**-24
    assert draw.integers((1,), 0, 3).item() == 2
    assert draw.normal((1,)).isfinite().all()


def largest_correlation(streams: Tensor) -> float:
    off = torch.corrcoef(streams) - torch.eye(len(streams), dtype=streams.dtype)
    return off.abs().amax().item() * streams.shape[1] ** 0.5


def test_streams_are_independent():
    keys = [("fog", 1), ("fog", 2), ("frost", 1)]
    streams = torch.cat([PerImage(range(60), *key).normal((4000,)) for key in keys])
    assert largest_correlation(streams) < 5
    z = PerImage(range(4000), "fog", 1).normal((180,))
    assert largest_correlation(z.T) < 5
    for lag in (1, 2, 16, 32, 224):
        whole = PerImage([9], "fog", 1).normal((100_000,))[0]
        assert (whole[lag:] * whole[:-lag]).mean().abs() * 100_000**0.5 < 5


def test_the_law_of_independence_catches_streams_that_overlap():
    one = torch.randn(4100)
    with pytest.raises(AssertionError):
        assert largest_correlation(torch.stack((one[:4000], one[:4000] + torch.randn(4000)))) < 5


@pytest.mark.skipif(not torch.cuda.is_available(), reason="compares a CUDA device with the CPU")
def test_a_gpu_draws_the_same():
    for kind in ("bits", "uniform"):
        here, there = (getattr(PerImage(range(5), "a", device=d), kind)((3, 50)).cpu() for d in ("cpu", "cuda"))
        assert torch.equal(here, there)
    here, there = (PerImage(range(5), "a", device=d).normal((3, 50)).cpu() for d in ("cpu", "cuda"))
    assert_close(here, there, rtol=1e-5, atol=1e-6)
