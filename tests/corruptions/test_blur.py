"""Blurs against slow ones."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from renorm.corruptions import blur, corrupt, glass
from renorm.corruptions.random import PerImage
from tests.corruptions.pictures import every_scale, every_severity, pictures
from tests.oracles import blur as slow


def picture(height: int = 27, width: int = 31) -> tuple[Tensor, np.ndarray]:
    """An image on the levels of 8 bits, for the library and for the oracle."""
    x = (pictures(1, height, width) * 255).round() / 255
    return x, x[0].permute(1, 2, 0).double().numpy()


def agree(y: Tensor, expected: np.ndarray, atol: float = 1e-6) -> None:
    assert_close(y[0].permute(1, 2, 0).double(), torch.from_numpy(expected).clamp(0, 1), rtol=0, atol=atol)


@every_severity
@every_scale
@pytest.mark.parametrize("size", [(27, 31), (8, 12)])
def test_defocus(severity: int, scale: int, size: tuple[int, int]):
    x, image = picture(*size)
    agree(corrupt(x, "defocus_blur", severity, [0], scale), slow.defocus(image, *blur.DEFOCUS[scale][severity - 1]))


@every_severity
@every_scale
def test_gaussian(severity: int, scale: int):
    x, image = picture()
    agree(corrupt(x, "gaussian_blur", severity, [0], scale), slow.gaussian(image, blur.GAUSSIAN[scale][severity - 1]))


@pytest.mark.parametrize("degrees", [-90.0, -44.9, -10.0, 0.0, 13.3, 45.0, 135.0, 180.0])
@pytest.mark.parametrize(("radius", "sigma"), [(6, 1), (8, 2), (12, 20)])
def test_motion(degrees: float, radius: int, sigma: float):
    x, image = picture(11, 14)
    agree(blur.motion(x, radius, sigma, torch.tensor([degrees])), slow.motion(image, radius, sigma, degrees))


def test_motion_goes_another_way_for_each_image():
    x = torch.zeros(200, 3, 33, 33)
    x[..., 16, 16] = 1
    y = corrupt(x, "motion_blur", 5, range(200), scale=32).sum(1)
    rows = torch.arange(33.0)
    centre = (y.sum(2) * rows).sum(1) / y.sum((1, 2)), (y.sum(1) * rows).sum(1) / y.sum((1, 2))
    # A point is seen from the pixels before it on the ray: to its left, as high above as below.
    assert (centre[1] < 16).all()
    angle = torch.rad2deg(torch.atan2(16 - centre[0], 16 - centre[1]))
    assert angle.abs().amax() < 52  # rounding to pixels turns short rays
    assert_close(angle.mean().item(), 0.0, rtol=0, atol=8)
    assert_close(angle.std().item(), 90 / 12**0.5, rtol=0.15, atol=0)


@every_severity
@every_scale
@pytest.mark.parametrize("size", [(32, 32), (27, 40)])
def test_zoom(severity: int, scale: int, size: tuple[int, int]):
    x, image = picture(*size)
    stop, step = blur.ZOOM[scale][severity - 1]
    agree(corrupt(x, "zoom_blur", severity, [0], scale), slow.zooms(image, np.arange(1, stop, step)))


@every_severity
@every_scale
def test_glass(severity: int, scale: int):
    x, image = picture()
    sigma, reach, rounds = glass.GLASS[scale][severity - 1]
    draw = PerImage([9], "glass_blur", severity)
    choices = np.stack([draw.integers((27 * 31,), 0, 4 * reach**2).view(27, 31).numpy() for _ in range(rounds)])
    expected = slow.glass(image, sigma, reach, choices)
    distance = (
        corrupt(x, "glass_blur", severity, [9], scale)[0].permute(1, 2, 0).double() - torch.from_numpy(expected)
    ).abs()
    # A smoothed value just at a level of 8 bits is truncated to it or to the one below.
    assert distance.amax() < 1.01 / 255
    assert (distance > 1e-6).double().mean() < 0.15


def test_glass_follows_long_chains():
    link = torch.tensor([[1, 2, 3, 4, 5, 6, 7 + 2], [7, 0, 1, 2, 3, 4, 5]], dtype=torch.int32)
    assert glass._follow(link).tolist() == [[2] * 7, [0] * 7]


@pytest.mark.parametrize("length", [8, 61, 100, 244, 245, 1000])
def test_lengths_for_the_transform(length: int):
    found = blur._fast_length(length)
    assert found >= length
    assert found % 8 == 0
    assert found < 1.3 * length + 8
    for prime in (2, 3, 5):
        while found % prime == 0:
            found //= prime
    assert found == 1
