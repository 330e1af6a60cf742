import numpy as np
import pytest
import torch
from torch.testing import assert_close

from renorm.corruptions import CORRUPTIONS, SCALES, SEVERITIES, corrupt
from renorm.corruptions.draw import stable_seed

every_corruption = pytest.mark.parametrize("name", CORRUPTIONS)


def photographs(n: int = 5, size: int = 19) -> torch.Tensor:
    smooth = torch.rand(n, 3, 4, 5, generator=torch.Generator().manual_seed(0))
    return torch.nn.functional.interpolate(smooth, (size, size + 4), mode="bilinear")


@every_corruption
@pytest.mark.parametrize("severity", SEVERITIES)
def test_pixels_do_not_depend_on_batch_size_or_order(name: str, severity: int):
    x, seeds = photographs(), [3, 1, 4, 15, 9]
    together = corrupt(x, name, severity, seeds)
    for i in range(5):
        assert torch.equal(corrupt(x[i : i + 1], name, severity, seeds[i : i + 1])[0], together[i])
    order = torch.tensor([4, 0, 3, 1, 2])
    assert torch.equal(corrupt(x[order], name, severity, torch.tensor(seeds)[order]), together[order])


@every_corruption
def test_pixels_do_not_depend_on_layout_or_random_state(name: str):
    x = photographs()
    torch.manual_seed(0)
    state = torch.get_rng_state()
    first = corrupt(x, name, 3, range(5))
    assert torch.equal(torch.get_rng_state(), state)
    torch.manual_seed(1)
    assert_close(corrupt(x.to(memory_format=torch.channels_last), name, 3, range(5)), first, rtol=0, atol=1e-6)


@every_corruption
@pytest.mark.parametrize("scale", SCALES)
def test_severities_grow_and_pixels_stay_in_range(name: str, scale: int):
    x = photographs(size=67)
    corrupted = [corrupt(x, name, severity, range(5), scale=scale) for severity in SEVERITIES]
    distances = [(y - x).square().mean().item() for y in corrupted]
    assert distances == sorted(distances) or name == "saturate"  # which takes colour away first, then adds it
    assert distances[0] > 0
    assert all(y.shape == x.shape and y.amin() >= 0 and y.amax() <= 1 for y in corrupted)


@every_corruption
def test_bytes_in_bytes_out(name: str):
    x = (photographs() * 255).round().to(torch.uint8)
    y = corrupt(x, name, 2, range(5))
    assert y.dtype == torch.uint8
    assert_close(y / 255, corrupt(x / 255, name, 2, range(5)), rtol=0, atol=0.5 / 255 + 1e-6)


def test_scale_follows_the_image_size():
    small, middle, large = (photographs(1, size) for size in (45, 46, 120))
    assert torch.equal(corrupt(small, "contrast", 1, [0]), corrupt(small, "contrast", 1, [0], scale=32))
    assert torch.equal(corrupt(middle, "contrast", 1, [0]), corrupt(middle, "contrast", 1, [0], scale=64))
    assert torch.equal(corrupt(large, "contrast", 1, [0]), corrupt(large, "contrast", 1, [0], scale=224))


def test_noise_has_the_published_standard_deviation():
    x = torch.full((3, 3, 61, 67), 0.5)
    y = corrupt(x, "gaussian_noise", 3, [1, 2, 3], scale=32)
    assert_close(y.std((1, 2, 3)), torch.full((3,), 0.08), rtol=0.03, atol=0)
    assert (y[0] - y[1]).abs().mean() > 0.05


def test_blur_equals_a_slow_sum():
    x = photographs(1, 11).double()
    sigma, radius = 0.6, 2
    grid = np.arange(-radius, radius + 1)
    kernel = np.exp(-0.5 * (grid / sigma) ** 2)
    kernel /= kernel.sum()
    padded = np.pad(x[0].numpy(), ((0, 0), (radius, radius), (radius, radius)), mode="edge")
    expected = np.zeros(x.shape[1:])
    for i in range(2 * radius + 1):
        for j in range(2 * radius + 1):
            expected += kernel[i] * kernel[j] * padded[:, i : i + x.shape[2], j : j + x.shape[3]]
    assert_close(corrupt(x, "gaussian_blur", 2, [0])[0], torch.from_numpy(expected), rtol=0, atol=1e-6)


def test_contrast_by_hand():
    x = torch.tensor([0.2, 0.6]).repeat(1, 3, 8, 4)
    assert_close(corrupt(x, "contrast", 2, [0])[0, 0, 0], torch.tensor([0.3, 0.5]).repeat(4))


def test_seeds_are_stable_for_ever():
    assert stable_seed(0, "weak", 17) == 905360648257296563
    assert stable_seed(1, 23) != stable_seed(12, 3)
    assert stable_seed(1) != stable_seed("1")


@pytest.mark.parametrize(
    ("name", "severity", "scale", "message"),
    [
        (
            "gausian_noise",
            1,
            None,
            r"unknown corruption 'gausian_noise': one of .* is needed. Did you mean 'gaussian_noise'",
        ),
        ("xyz", 1, None, r"unknown corruption 'xyz': one of gaussian_noise.*Choose one"),
        ("contrast", 0, None, r"severity 0 of contrast: 1 \(mild\) to 5"),
        ("contrast", 6, None, r"severity 6"),
        ("contrast", 1, 96, r"no severity table for scale 96"),
    ],
)
def test_unknown_choices_say_what_there_is(name: str, severity: int, scale: int | None, message: str):
    with pytest.raises(ValueError, match=message):
        corrupt(photographs(), name, severity, range(5), scale)


def test_wrong_images_say_what_to_do():
    x = photographs()
    with pytest.raises(ValueError, match=r"\(5, 1, 19, 23\).*\(N, 3, H, W\) is needed.*expand"):
        corrupt(x[:, :1], "contrast", 1, range(5))
    with pytest.raises(ValueError, match=r"2 seeds for 5 images"):
        corrupt(x, "contrast", 1, [1, 2])
    with pytest.raises(ValueError, match=r"\[0, 1\] is needed. Corrupt before normalizing"):
        corrupt(x * 2 - 1, "contrast", 1, range(5))
    with pytest.raises(ValueError, match=r"images of torch.int64"):
        corrupt(x.long(), "contrast", 1, range(5))
