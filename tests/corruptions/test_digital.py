import io
from typing import get_args

import numpy as np
import pytest
import torch
from PIL import Image
from scipy import ndimage
from torch import Tensor
from torch.testing import assert_close

from renorm.corruptions import SCALES, SEVERITIES, digital, elastic
from renorm.corruptions.blur import Border, smooth
from renorm.corruptions.elastic import elastic_transform
from renorm.corruptions.random import PerImage
from tests.corruptions.pictures import pictures
from tests.oracles import digital as oracle

every_cell = pytest.mark.parametrize(("severity", "scale"), [(v, s) for s in SCALES for v in SEVERITIES])
NO_DRAW = PerImage([0, 1])


def extremes(height: int = 19, width: int = 23) -> Tensor:
    """Two pictures with a black, a grey, a white, a red and a nearly black pixel."""
    x = pictures(2, height, width)
    x[0, :, 0, :5] = torch.tensor([(0, 0, 0), (0.5, 0.5, 0.5), (1, 1, 1), (1, 0, 0), (0, 1e-6, 0)]).T
    return x


def arrays(x: Tensor) -> list[np.ndarray]:
    return [image.permute(1, 2, 0).double().numpy() for image in x]


def agree(x: Tensor, expected: list[np.ndarray], atol: float) -> None:
    assert_close(x.double(), torch.from_numpy(np.stack(expected)).permute(0, 3, 1, 2), rtol=0, atol=atol)


@every_cell
def test_contrast(severity: int, scale: int):
    x = extremes()
    expected = [oracle.contrast(image, severity, scale) for image in arrays(x)]
    agree(digital.contrast(x, severity, NO_DRAW, scale), expected, 1e-6)


@every_cell
def test_saturate_scales_the_saturation_of_hsv(severity: int, scale: int):
    x = extremes()
    expected = [oracle.saturate(image, severity, scale) for image in arrays(x)]
    agree(digital.saturate(x, severity, NO_DRAW, scale), expected, 3e-6)


def test_grey_has_the_hue_of_red():
    x = torch.tensor([0.0, 0.5, 1.0]).view(1, 1, 1, 3).expand(1, 3, 8, 3)
    saturated = digital.saturate(x, 5, PerImage([0]), 224)
    assert_close(saturated[0, :, 0], torch.tensor([[0, 0.5, 1], [0, 0.4, 0.8], [0, 0.4, 0.8]]))


@every_cell
def test_pixelate_paints_squares(severity: int, scale: int):
    x = pictures(2, 16, 32)  # powers of two: no centre on an edge
    expected = [oracle.pixelate(image, severity, scale) for image in arrays(x)]
    agree(digital.pixelate(x, severity, NO_DRAW, scale), expected, 1e-6)


@every_cell
def test_pixelate_is_pillow_but_for_its_two_roundings(severity: int, scale: int):
    x = (pictures(1, scale, scale) * 255).round()
    small = int(scale * digital.PIXELATE[scale][severity - 1])
    image = Image.fromarray(x[0].permute(1, 2, 0).byte().numpy())
    pillow = image.resize((small, small), Image.Resampling.BOX).resize((scale, scale), Image.Resampling.BOX)
    ours = digital.pixelate(x / 255, severity, NO_DRAW, scale)[0].permute(1, 2, 0) * 255
    assert_close(ours, torch.from_numpy(np.array(pillow)).float(), rtol=0, atol=1 + 1e-3)


def test_pixelate_leaves_at_least_one_square():
    x = pictures(1, 3, 3)
    means = x.mean((2, 3), keepdim=True).expand_as(x)
    assert_close(digital.pixelate(x, 5, PerImage([0]), 224), means)


@every_cell
def test_jpeg_is_what_pillow_writes(severity: int, scale: int):
    x = (pictures(2) * 255).round()
    for image, ours in zip(x, digital.jpeg_compression(x / 255, severity, NO_DRAW, scale), strict=True):
        file = io.BytesIO()
        Image.fromarray(image.permute(1, 2, 0).byte().numpy()).save(
            file, "JPEG", quality=oracle.JPEG[scale][severity - 1], subsampling="4:2:0"
        )
        expected = torch.from_numpy(np.array(Image.open(file))).permute(2, 0, 1) / 255
        assert_close(ours, expected, rtol=0, atol=1e-7)


@pytest.mark.parametrize("border", get_args(Border))
@pytest.mark.parametrize("sigma", [0.0, 0.3, 1.92, 7.0, 40.0])
def test_smoothing_is_that_of_scipy(border: Border, sigma: float):
    x = pictures(2)
    for truncate in (3.0, 4.0):
        expected = ndimage.gaussian_filter(x.double().numpy(), (0, 0, sigma, sigma), mode=border, truncate=truncate)
        assert_close(smooth(x, sigma, border, truncate).double(), torch.from_numpy(expected), rtol=0, atol=1e-6)


def test_smoothing_is_not_rounded_where_the_user_computes_in_16_bits():
    x = pictures(1)
    expected = smooth(x, 2.0)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(smooth(x, 2.0), expected)


def random_numbers(x: Tensor) -> tuple[np.ndarray, np.ndarray]:
    draw = PerImage([5, 6])
    shifts = draw.uniform((3, 2), -1, 1)
    return shifts.double().numpy(), draw.uniform((2, *x.shape[-2:]), -1, 1).double().numpy()


@every_cell
@pytest.mark.parametrize("size", [(19, 23), (29, 16)])
def test_elastic_transform(severity: int, scale: int, size: tuple[int, int]):
    x = pictures(2, *size)
    images = zip(arrays(x), *random_numbers(x), strict=True)
    expected = [oracle.elastic(image, severity, scale, shifts, noise) for image, shifts, noise in images]
    agree(elastic_transform(x, severity, PerImage([5, 6]), scale), expected, 2e-4)


def test_the_oracle_notices_a_wrong_constant(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(elastic.ELASTIC, 32, ((0, 0, 0.081),))
    with pytest.raises(AssertionError):
        test_elastic_transform(1, 32, (19, 23))


def test_the_oracle_notices_another_border(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(elastic, "smooth", lambda x, sigma, border, truncate: smooth(x, sigma, "nearest", truncate))
    with pytest.raises(AssertionError):
        test_elastic_transform(2, 224, (19, 23))


def test_points_on_a_line_do_not_break_the_affine_map():
    x = pictures(1, 18, 18)
    shifts = torch.tensor([[[0.0, 0.0], [0.0, 12.0], [12.0, 12.0]]])  # all three move onto one point
    assert elastic._warp_affine(x, shifts).isfinite().all()
