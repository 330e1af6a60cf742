"""Distributions of the noises."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import stats
from torch.testing import assert_close

from renorm.corruptions import corrupt, noise
from tests.corruptions.pictures import every_scale, every_severity

SIDE = 200


def corrupted(value: float, name: str, severity: int, scale: int, num: int = 1) -> torch.Tensor:
    return corrupt(torch.full((num, 3, SIDE, SIDE), value), name, severity, range(num), scale)


@every_severity
@every_scale
def test_gaussian_noise(severity: int, scale: int):
    sigma = noise.GAUSSIAN[scale][severity - 1]
    y = corrupted(0.5, "gaussian_noise", severity, scale)[0].double()
    inside = y[(y > 0) & (y < 1)].numpy()
    edge = 0.5 / sigma
    assert stats.kstest((inside - 0.5) / sigma, stats.truncnorm(-edge, edge).cdf).pvalue > 1e-4
    assert_close((y == 1).double().mean().item(), stats.norm.sf(edge), rtol=0.1, atol=2e-4)


@every_severity
@every_scale
def test_speckle_noise_is_relative(severity: int, scale: int):
    sigma = noise.SPECKLE[scale][severity - 1]
    for value in (0.1, 0.3):
        y = corrupted(value, "speckle_noise", severity, scale)[0].double()
        low, high = -1 / sigma, (1 - value) / (value * sigma)
        inside = y[(y > 0) & (y < 1)].numpy()
        assert stats.kstest((inside - value) / (value * sigma), stats.truncnorm(low, high).cdf).pvalue > 1e-4
    assert corrupted(0.0, "speckle_noise", severity, scale).abs().amax() == 0


@every_severity
@every_scale
def test_impulse_noise_hits_each_channel_by_itself(severity: int, scale: int):
    share = noise.IMPULSE[scale][severity - 1]
    y = corrupted(0.5, "impulse_noise", severity, scale)[0]
    assert set(y.unique().tolist()) == {0.0, 0.5, 1.0}
    deviation = (share / 2 / y.numel()) ** 0.5
    for value in (0.0, 1.0):
        assert_close((y == value).double().mean().item(), share / 2, rtol=0, atol=4.5 * deviation)
    hit = (y != 0.5).double().flatten(1)
    assert_close(torch.corrcoef(hit), torch.eye(3).double(), rtol=0, atol=0.03)


@every_severity
@every_scale
@pytest.mark.parametrize("value", [1 / 255, 40 / 255, 1.0, 0.4321, 0.9999])
def test_shot_noise_is_poisson(severity: int, scale: int, value: float):
    white = noise.SHOT[scale][severity - 1]
    y = corrupted(value, "shot_noise", severity, scale)[0].double()
    k = np.rint(y.numpy() * white).astype(int).ravel()
    assert_close(y, torch.from_numpy(k.reshape(y.shape) / white), rtol=0, atol=1e-6)
    expected = stats.poisson.pmf(np.arange(white), white * float(torch.tensor(value))) * len(k)
    expected = np.append(expected, len(k) - expected.sum())  # all that is brighter than white is white
    found = np.bincount(k, minlength=white + 1)
    often = expected > 10
    found, expected = (np.append(v[often], v[~often].sum()) for v in (found, expected))
    if often.sum() > 1:
        assert (
            stats.chisquare(found + 1e-9, (expected + 1e-9) * (found + 1e-9).sum() / (expected + 1e-9).sum()).pvalue
            > 1e-5
        )


@pytest.mark.parametrize("white", sorted({w for table in noise.SHOT.values() for w in table}))
def test_tables_invert_the_distribution_function(white: int):
    generator = torch.Generator().manual_seed(0)
    level = torch.randint(0, 256, (4000,), generator=generator).float()
    number = torch.randint(0, 2**24, (4000,), generator=generator) / 2**24
    number[:40] = torch.linspace(0, 1 - 2**-24, 40)
    number[40:60], number[60:80] = torch.arange(20) * 2**-24, 1 - torch.arange(1, 21) * 2**-24
    found = noise._of_levels(level, number, white)
    rate = level.double().numpy() * white / 255
    # The smallest k whose distribution function exceeds the number, up to the precision of a table in float32.
    exceeds = stats.poisson.cdf(found.numpy(), rate) > number.numpy() - 1e-6
    smallest = stats.poisson.cdf(found.numpy() - 1, rate) <= number.numpy() + 1e-6
    assert exceeds.all()
    assert smallest.all()


def test_few_photons_invert_the_distribution_function():
    rate = torch.linspace(0.001, 1.96, 3000)
    number = torch.randint(0, 2**24, (3000,), generator=torch.Generator().manual_seed(0)) / 2**24
    number[-2:] = 1 - 2**-24
    found = noise._of_rates(rate, number)
    assert (stats.poisson.cdf(found.numpy(), rate.numpy()) > number.numpy() - 1e-6).all()
    assert (stats.poisson.cdf(found.numpy() - 1, rate.numpy()) <= number.numpy() + 1e-6).all()


def test_levels_of_bytes_stay_levels_among_other_floats():
    x = torch.full((2, 3, 20, 20), 100 / 255)
    alone = corrupt(x[:1], "shot_noise", 1, [3])
    x[1] = 0.1234
    assert torch.equal(corrupt(x, "shot_noise", 1, [3, 4])[:1], alone)


def test_black_stays_black_in_shot_noise():
    assert corrupted(0.0, "shot_noise", 5, 224).amax() == 0
