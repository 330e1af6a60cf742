"""Colours by mean and covariance: published numbers, a slow loop, and the moments of the result."""

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from renorm.functional import match_colors
from tests.oracles.numbers import inp, summary

PICTURE = 0.2 * inp(1, 3, 4, 5, 0.3) + 0.5
LIKE = 0.3 * inp(1, 3, 3, 4, 1.1) + 0.4


def pictures(height: int, width: int, seed: int, dtype: torch.dtype = torch.float64) -> Tensor:
    """A picture whose three channels go together."""
    own = torch.Generator().manual_seed(seed)
    mixed = torch.rand(3, 3, generator=own) @ torch.rand(3, height * width, generator=own)
    return mixed.view(3, height, width).to(dtype)


def colors(x: Tensor) -> tuple[Tensor, Tensor]:
    pixels = x.flatten(1).double()
    return pixels.mean(1), pixels.cov()


def loop(picture: Tensor, like: Tensor) -> Tensor:
    """Pixel by pixel, with scipy's roots."""
    (mean, covariance), (wanted_mean, wanted) = colors(picture), colors(like)
    linalg = pytest.importorskip("scipy.linalg")
    root, wanted_root = (np.real(linalg.sqrtm(each.numpy())) for each in (covariance, wanted))
    turn = wanted_root @ linalg.inv(root)
    columns = [turn @ (pixel - mean).numpy() + wanted_mean.numpy() for pixel in picture.double().flatten(1).T]
    return torch.from_numpy(np.stack(columns, 1)).view(picture.shape)


def sums(picture: Tensor, like: Tensor) -> Tensor:
    """As it is usually done: sums of products for covariances, whose ratio depends on the numbers of pixels."""
    scale = (like[0].numel() / picture[0].numel()) ** 0.5
    mean = colors(like)[0].view(3, 1, 1)
    return (loop(picture, like) - mean) * scale + mean


def test_published_numbers():
    y = match_colors(PICTURE, LIKE)
    assert_close(summary(y), [26.096580, -0.449192, 0.664168, -0.005536], rtol=0, atol=2e-5)
    assert_close(y.abs().sum().item(), 26.107652, rtol=0, atol=2e-5)


def test_equals_a_slow_loop():
    picture, like = pictures(5, 7, 0), pictures(6, 4, 1)
    assert_close(match_colors(picture, like), loop(picture, like), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("size", [(8, 8), (16, 24)])
def test_the_result_has_the_colors_of_the_other_whatever_its_size(size: tuple[int, int]):
    picture, like = pictures(*size, 0), pictures(5, 6, 1)
    for found, wanted in zip(colors(match_colors(picture, like)), colors(like), strict=True):
        assert_close(found, wanted)
    with pytest.raises(AssertionError):
        assert_close(colors(sums(picture, like))[1], colors(like)[1], rtol=0.1, atol=0)


def test_one_picture_at_two_sizes_gets_the_same_contrast():
    picture, like = pictures(30, 40, 0), pictures(25, 20, 1)
    large = picture.repeat_interleave(2, -1).repeat_interleave(2, -2)
    small_again = match_colors(large, like)[..., ::2, ::2]
    assert_close(small_again, match_colors(picture, like), rtol=0, atol=1e-3)
    with pytest.raises(AssertionError):
        assert_close(sums(large, like)[..., ::2, ::2], sums(picture, like), rtol=0, atol=1e-3)


def test_a_picture_keeps_its_own_colors():
    picture = pictures(9, 7, 0, torch.float32)
    assert_close(match_colors(picture, picture.flip(-1)), picture, rtol=0, atol=1e-5)


def test_there_and_back():
    picture, like = pictures(9, 7, 0), pictures(5, 6, 1)
    assert_close(match_colors(match_colors(picture, like), picture), picture)


def test_a_batch_equals_its_pictures_and_one_other_serves_all():
    batch = torch.stack([pictures(6, 5, i) for i in range(3)])
    likes = torch.stack([pictures(4, 7, i) for i in range(3, 6)])
    y, with_one = match_colors(batch, likes), match_colors(batch, likes[:1])
    for i in range(3):
        assert_close(y[i], match_colors(batch[i], likes[i]))
        assert_close(with_one[i], match_colors(batch[i], likes[0]))
        assert_close(match_colors(batch, likes[0])[i], with_one[i])


def test_of_grey_only_the_brightness_follows():
    grey = torch.rand(1, 20, 20, generator=torch.Generator().manual_seed(0)).expand(3, -1, -1)
    like = pictures(10, 10, 1, torch.float32)
    y = match_colors(grey, like)
    assert y.isfinite().all()
    values = torch.linalg.eigvalsh(colors(y)[1])
    assert values[1] < 1e-6 * values[2]
    assert_close(colors(y)[0], colors(like)[0], rtol=0, atol=1e-5)
    flat = match_colors(torch.full((3, 4, 4), 0.3), like)
    assert_close(flat.double(), colors(like)[0].view(3, 1, 1).expand(3, 4, 4), rtol=0, atol=1e-6)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_in_half_out(dtype: torch.dtype):
    picture, like = pictures(8, 8, 0).to(dtype), pictures(8, 8, 1).to(dtype)
    y = match_colors(picture, like)
    assert y.dtype == dtype
    assert_close(y, match_colors(picture.float(), like.float()).to(dtype), rtol=0, atol=0)


@pytest.mark.parametrize(
    "shapes", [((3, 4, 4), (1, 4, 4)), ((3, 1, 1), (3, 4, 4)), ((4, 4), (4, 4)), ((3, 4, 4), (3, 1, 1))]
)
def test_pictures_that_do_not_go_together(shapes: tuple[tuple[int, ...], tuple[int, ...]]):
    with pytest.raises(ValueError, match=r"pictures of shape .* were given\. \(C, H, W\) with as many .*Make both RGB"):
        match_colors(torch.rand(shapes[0]), torch.rand(shapes[1]))
