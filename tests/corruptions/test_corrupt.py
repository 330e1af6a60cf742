"""What ``corrupt`` takes, chooses and refuses."""

from __future__ import annotations

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch.testing import assert_close

from renorm.corruptions import SCALES, SEVERITIES, corrupt, nearest_scale
from tests.corruptions.pictures import NAMES, one_by_one, pictures


@pytest.mark.parametrize(
    ("size", "scale"),
    [((8, 8), 32), ((45, 45), 32), ((46, 46), 64), ((119, 300), 64), ((120, 120), 224), ((500, 375), 224)],
)
def test_scale_follows_the_shorter_side(size: tuple[int, int], scale: int):
    x = pictures(1, *size)
    assert nearest_scale(*size) == scale
    for name in ("contrast", "shot_noise", "gaussian_blur"):
        assert torch.equal(corrupt(x, name, 1, [0]), corrupt(x, name, 1, [0], scale=scale))


def test_contrast_by_hand():
    x = torch.tensor([0.2, 0.6]).repeat(1, 3, 8, 4)
    assert_close(corrupt(x, "contrast", 2, [0])[0, 0, 0], torch.tensor([0.3, 0.5]).repeat(4))


@pytest.mark.parametrize(
    ("name", "severity", "scale", "message"),
    [
        ("gausian_noise", 1, None, r"'gausian_noise': one of .* is needed. Did you mean 'gaussian_noise'"),
        ("xyz", 1, None, r"unknown corruption 'xyz': one of gaussian_noise.*saturate is needed. Choose one"),
        ("contrast", 0, None, r"severity 0 of contrast: 1 \(mild\) to 5 \(strong\) is needed. Pass one of"),
        ("contrast", 6, None, r"severity 6"),
        ("contrast", 1, 96, r"no severity table for scale 96: there is one for 32, 64 and 224 pixels. Leave scale out"),
    ],
)
def test_unknown_choices_say_what_there_is(name: str, severity: int, scale: int | None, message: str):
    with pytest.raises(ValueError, match=message):
        corrupt(pictures(), name, severity, range(5), scale)


def test_wrong_images_say_what_to_do():
    x = pictures()
    for wrong in (x[:, :1], torch.cat((x, x[:, :1]), 1), x[0]):
        with pytest.raises(
            ValueError, match=r"\(N, 3, H, W\) is needed. Add the batch dimension .*x.expand.*x\[:, :3\]"
        ):
            corrupt(wrong, "contrast", 1, range(len(wrong)))
    with pytest.raises(ValueError, match=r"images of 7 x 23 pixels: at least 8 x 8 is needed. Resize them first"):
        corrupt(x[..., :7, :], "contrast", 1, range(5))
    with pytest.raises(ValueError, match=r"2 seeds for 5 images: one each is needed. Pass the images' indices"):
        corrupt(x, "contrast", 1, [1, 2])
    with pytest.raises(
        ValueError, match=r"images of torch.int64: floating point in \[0, 1\] or uint8 is needed. Convert"
    ):
        corrupt(x.long(), "contrast", 1, range(5))


@pytest.mark.parametrize("value", [-0.001, 1.001, 255.0, float("nan"), float("inf")])
def test_pixels_out_of_range_say_what_to_do(value: float):
    x = pictures()
    x[3, 1, 4, 1] = value
    with pytest.raises(ValueError, match=r"\[0, 1\] is needed. Corrupt before normalizing by mean .* divide 0..255"):
        corrupt(x, "contrast", 1, range(5))


DTYPES = (torch.uint8, torch.float32, torch.float64, torch.float16, torch.bfloat16)


@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    name=st.sampled_from(NAMES),
    severity=st.sampled_from(SEVERITIES),
    scale=st.sampled_from((None, *SCALES)),
    num=st.integers(1, 3),
    size=st.tuples(st.integers(8, 40), st.integers(8, 40)),
    dtype=st.sampled_from(DTYPES),
    seed=st.integers(-(2**70), 2**70),
    device=st.sampled_from(["cpu", "cuda"] if torch.cuda.is_available() else ["cpu"]),
)
def test_any_images_are_corrupted_alike_alone_and_together(
    name: str,
    severity: int,
    scale: int | None,
    num: int,
    size: tuple[int, int],
    dtype: torch.dtype,
    seed: int,
    device: str,
):
    x = pictures(num, *size, seed=severity).to(device)
    x = (x * 255).round().to(dtype) if dtype == torch.uint8 else x.to(dtype)
    seeds = [seed + i for i in range(num)]
    y = corrupt(x, name, severity, seeds, scale)
    assert (y.shape, y.dtype, y.device) == (x.shape, x.dtype, x.device)
    assert y.amin() >= 0
    assert y.amax() <= (255 if dtype == torch.uint8 else 1)
    assert torch.equal(y, one_by_one(x, name, severity, seeds, scale))
