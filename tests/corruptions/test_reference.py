"""Corruptions against imagecorruptions 1.1.2, fed with the same random numbers.

Needs ``pip install imagecorruptions 'setuptools<82'`` in this environment; skipped where it is missing. With numpy 2 and
scikit-image 0.26 its fog, glass blur and gaussian blur fail; the tests give them back the names they ask for.
"""

import importlib
import math
import warnings
from collections.abc import Callable
from types import ModuleType

import numpy as np
import pytest
import torch
from PIL import Image
from scipy import stats

from renorm.corruptions import SEVERITIES, corrupt, glass, weather
from renorm.corruptions.random import PerImage
from tests.corruptions.pictures import pictures

SIDE = 96
SEED = 5


@pytest.fixture(scope="module")
def reference() -> ModuleType:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of pkg_resources
        pytest.importorskip("imagecorruptions", reason="needs pip install imagecorruptions 'setuptools<82'")
        return importlib.import_module("imagecorruptions.corruptions")


def both(reference: ModuleType, name: str, severity: int) -> tuple[np.ndarray, np.ndarray]:
    """The corrupted image of each side in 0 to 255, before the reference cuts it to whole numbers."""
    x = (pictures(1, SIDE, SIDE) * 255).round().to(torch.uint8)
    image = Image.fromarray(x[0].permute(1, 2, 0).numpy())
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        theirs = np.asarray(getattr(reference, name)(image, severity), dtype=float)
    ours = corrupt(x.double() / 255, name, severity, [SEED], scale=224)[0]
    return ours.permute(1, 2, 0).numpy() * 255, theirs


@pytest.mark.parametrize(
    ("name", "largest"),
    [
        *((name, 1e-3) for name in ("brightness", "contrast", "saturate", "jpeg_compression")),
        *((name, 1e-3) for name in ("defocus_blur", "zoom_blur", "gaussian_blur")),
        ("pixelate", 1.01),
    ],
)
@pytest.mark.parametrize("severity", SEVERITIES)
def test_deterministic_ones_are_equal(
    reference: ModuleType, name: str, largest: float, severity: int, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(reference, "gaussian", smoothing(reference.gaussian))
    ours, theirs = both(reference, name, severity)
    assert np.abs(ours - theirs).max() < largest


def smoothing(gaussian: Callable[..., np.ndarray]) -> Callable[..., np.ndarray]:
    """What scikit-image calls ``channel_axis`` today."""
    return lambda *given, multichannel=False, **named: gaussian(
        *given, channel_axis=-1 if multichannel else None, **named
    )


def normal_from(noise: np.ndarray) -> Callable[..., np.ndarray]:
    return lambda size, loc, scale: loc + scale * noise


@pytest.mark.parametrize("severity", SEVERITIES)
def test_fog(reference: ModuleType, severity: int, monkeypatch: pytest.MonkeyPatch):
    numbers = iter(PerImage([SEED], "fog", severity).uniform((128 * 128,), -1, 1)[0, 1:].double().tolist())
    monkeypatch.setattr(np, "float_", np.float64, raising=False)  # numpy 2 has dropped it
    monkeypatch.setattr(
        np.random,
        "uniform",
        lambda low, high, shape: high * np.array([next(numbers) for _ in range(math.prod(shape))]).reshape(shape),
    )
    ours, theirs = both(reference, "fog", severity)
    assert np.abs(ours - theirs).max() < 0.01


@pytest.mark.parametrize("severity", SEVERITIES)
def test_spatter(reference: ModuleType, severity: int, monkeypatch: pytest.MonkeyPatch):
    noise = PerImage([SEED], "spatter", severity).normal((SIDE, SIDE))[0].double().numpy()
    monkeypatch.setattr(np.random, "normal", normal_from(noise))
    ours, theirs = both(reference, "spatter", severity)
    assert np.abs(ours - theirs).max() < 0.1


@pytest.mark.parametrize("severity", [1, 2, 3])  # for 4 and 5 the reference blurs an image that is 2 pixels too large
def test_snow_but_for_the_8_bits_of_its_flakes(reference: ModuleType, severity: int, monkeypatch: pytest.MonkeyPatch):
    draw = PerImage([SEED], "snow", severity)
    small = SIDE // int(weather.SNOW[224][severity - 1][2])
    noise = np.pad(draw.normal((small, small))[0].double().numpy(), (SIDE - small) // 2)
    degrees = draw.uniform((), -135, -45).item()
    monkeypatch.setattr(np.random, "normal", normal_from(noise))
    monkeypatch.setattr(np.random, "uniform", lambda low, high: degrees)
    ours, theirs = both(reference, "snow", severity)
    assert np.abs(ours - theirs).max() < 1.5
    assert np.abs(ours - theirs).mean() < 0.3


def test_generated_frost_is_about_as_bright_as_photographed(reference: ModuleType):
    np.random.seed(0)
    photographed = [both(reference, "frost", 3)[1] for _ in range(60)]
    x = (pictures(1, SIDE, SIDE) * 255).round() / 255
    generated = corrupt(x.expand(60, -1, -1, -1), "frost", 3, range(60), scale=224) * 255
    assert abs(generated.mean().item() - np.mean(photographed)) < 15


@pytest.mark.parametrize("severity", SEVERITIES)
def test_motion_blur(reference: ModuleType, severity: int, monkeypatch: pytest.MonkeyPatch):
    degrees = PerImage([SEED], "motion_blur", severity).uniform((), -45, 45).item()
    monkeypatch.setattr(np.random, "uniform", lambda low, high: degrees)
    ours, theirs = both(reference, "motion_blur", severity)
    assert np.abs(ours - theirs).max() < 1e-3


@pytest.mark.parametrize("severity", SEVERITIES)
def test_glass_blur_but_for_levels_that_truncation_decides(
    reference: ModuleType, severity: int, monkeypatch: pytest.MonkeyPatch
):
    _, reach, rounds = glass.GLASS[224][severity - 1]
    draw = PerImage([SEED], "glass_blur", severity)
    inside = slice(SIDE - reach, reach, -1)
    offsets: list[np.ndarray] = []
    for _ in range(rounds):
        choice = draw.integers((SIDE * SIDE,), 0, 4 * reach**2).view(SIDE, SIDE).numpy()[inside, inside].flatten()
        offsets += [
            np.array([right - reach, down - reach]) for down, right in zip(*np.divmod(choice, 2 * reach), strict=True)
        ]
    numbers = iter(offsets)
    monkeypatch.setattr(reference, "gaussian", smoothing(reference.gaussian))
    monkeypatch.setattr(np.random, "randint", lambda low, high, size: next(numbers))
    ours, theirs = both(reference, "glass_blur", severity)
    assert next(numbers, None) is None
    assert np.abs(ours - theirs).max() < 1.01
    assert np.abs(ours - theirs).mean() < 0.01


@pytest.mark.parametrize("name", ["gaussian_noise", "speckle_noise"])
@pytest.mark.parametrize("severity", SEVERITIES)
def test_normal_noise(reference: ModuleType, name: str, severity: int, monkeypatch: pytest.MonkeyPatch):
    noise = PerImage([SEED], name, severity).normal((3, SIDE, SIDE))[0].permute(1, 2, 0).double().numpy()
    monkeypatch.setattr(np.random, "normal", lambda size, scale: scale * noise)
    ours, theirs = both(reference, name, severity)
    assert np.abs(ours - theirs).max() < 1e-3


@pytest.mark.parametrize("name", ["shot_noise", "impulse_noise"])
@pytest.mark.parametrize("severity", SEVERITIES)
def test_other_noise_has_the_same_distribution(reference: ModuleType, name: str, severity: int):
    np.random.seed(0)
    ours, theirs = (side.flatten() for side in both(reference, name, severity))
    assert stats.kstest(ours.round(3), theirs.round(3)).pvalue > 1e-4
