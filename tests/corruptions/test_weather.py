import os
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor
from torch.testing import assert_close

from renorm.corruptions import SCALES, SEVERITIES, corrupt, weather
from renorm.corruptions.frost import WINDOWS, frost, windows
from renorm.corruptions.random import PerImage
from tests.corruptions.pictures import pictures
from tests.oracles import digital as oracle_hsv
from tests.oracles import weather as oracle

every_cell = pytest.mark.parametrize(("severity", "scale"), [(v, s) for s in SCALES for v in SEVERITIES])


def extremes() -> Tensor:
    """Two pictures with a black, a grey, a white, a red and a nearly black pixel."""
    x = pictures(2)
    x[0, :, 0, :5] = torch.tensor([(0, 0, 0), (0.5, 0.5, 0.5), (1, 1, 1), (1, 0, 0), (0, 1e-6, 0)]).T
    return x


def arrays(x: Tensor) -> list[np.ndarray]:
    return [image.permute(1, 2, 0).double().numpy() for image in x]


def agree(x: Tensor, expected: list[np.ndarray], atol: float) -> None:
    assert_close(x.double(), torch.from_numpy(np.stack(expected)).permute(0, 3, 1, 2), rtol=0, atol=atol)


@every_cell
def test_brightness_raises_the_value_of_hsv(severity: int, scale: int):
    x, raised = extremes(), oracle.BRIGHTNESS[scale][severity - 1]
    expected = [oracle_hsv.in_hsv(image, lambda h, s, v: (h, s, min(v + raised, 1))) for image in arrays(x)]
    agree(weather.brightness(x, severity, PerImage([0, 1]), scale), expected, 1e-6)


@every_cell
def test_fog_is_a_plasma_fractal(severity: int, scale: int):
    x = extremes()
    numbers = PerImage([5, 6]).uniform((32 * 32,), -1, 1).double().numpy()
    expected = [oracle.fog(image, severity, scale, n) for image, n in zip(arrays(x), numbers, strict=True)]
    agree(weather.fog(x, severity, PerImage([5, 6]), scale), expected, 2e-6)


@pytest.mark.parametrize(("height", "width", "side"), [(8, 8, 8), (9, 16, 16), (33, 20, 64)])
def test_the_fractal_is_as_large_as_the_next_power_of_two(height: int, width: int, side: int):
    draw = PerImage([3])
    weather.fog(torch.rand(1, 3, height, width), 1, draw, 32)
    rest = PerImage([3])
    rest.uniform((side * side,))
    assert torch.equal(draw.uniform((4,)), rest.uniform((4,)))


def test_the_fractal_spans_0_to_1_and_is_finer_where_it_decays_less():
    smooth, rough = (weather.plasma_fractal(PerImage([0, 1, 2]), 64, decay) for decay in (3, 1.4))
    for height in (smooth, rough):
        assert_close(height.amin((1, 2)), torch.zeros(3))
        assert_close(height.amax((1, 2)), torch.ones(3))
    assert (rough.diff(dim=2).abs().mean() > 2 * smooth.diff(dim=2).abs().mean()).item()
    edges = (smooth[:, :, 0] - smooth[:, :, -1]).abs().mean()  # it continues at the opposite side
    assert edges < 3 * smooth.diff(dim=2).abs().mean()


@every_cell
def test_snow_falls_as_the_reference_says(severity: int, scale: int):
    x = extremes()
    draw = PerImage([5, 6])
    factor = oracle.SNOW[scale][severity - 1][2]
    noise = draw.normal((int(np.ceil(19 / factor)), int(np.ceil(23 / factor)))).double().numpy()
    degrees = draw.uniform((), -135, -45).tolist()
    images = zip(arrays(x), noise, degrees, strict=True)
    expected = [oracle.snow(image, severity, scale, n, angle) for image, n, angle in images]
    agree(weather.snow(x, severity, PerImage([5, 6]), scale), expected, 5e-6)


@pytest.mark.parametrize("wrong", ["FOG", "SNOW"])
def test_the_oracles_notice_a_wrong_constant(wrong: str, monkeypatch: pytest.MonkeyPatch):
    row = getattr(weather, wrong)[32][0]
    monkeypatch.setitem(getattr(weather, wrong), 32, ((row[0] * 1.1, *row[1:]),))
    with pytest.raises(AssertionError):
        {"FOG": test_fog_is_a_plasma_fractal, "SNOW": test_snow_falls_as_the_reference_says}[wrong](1, 32)


@pytest.fixture
def slopes(tmp_path: Path) -> Path:
    """A folder with a picture whose pixels tell their place: red down, green across."""
    down, across = np.mgrid[:90, :110]
    Image.fromarray(np.stack([down, across, 0 * down], -1).astype(np.uint8)).save(tmp_path / "slopes.png")
    (tmp_path / "readme.txt").write_text("not a picture")
    return tmp_path


@pytest.mark.parametrize("severity", SEVERITIES)
def test_frost_adds_a_part_of_the_picture(severity: int, slopes: Path):
    kept, strength = oracle.FROST[224][severity - 1]
    x = extremes() * 0.5
    places = set()
    for image, seed in zip(x, (0, 1), strict=True):
        added = frost(image[None], severity, PerImage([seed]), 224, slopes)[0] - kept * image
        place = added * 255 / strength
        top, left = place[0, 0, 0].round(), place[1, 0, 0].round()
        assert_close(place[0], (top + torch.arange(19.0))[:, None].expand(19, 23), rtol=0, atol=1e-3)
        assert_close(place[1], (left + torch.arange(23.0)).expand(19, 23), rtol=0, atol=1e-3)
        assert_close(place[2], torch.zeros(19, 23), rtol=0, atol=1e-3)
        assert 0 <= top <= 90 - 19
        assert 0 <= left <= 110 - 23
        places.add((int(top), int(left)))
    assert len(places) == 2


@pytest.mark.parametrize("scale", SCALES)
@pytest.mark.parametrize("severity", SEVERITIES)
def test_frost_weighs_image_and_frost_as_published(severity: int, scale: int, tmp_path: Path):
    Image.new("RGB", (300, 300), (51, 102, 153)).save(tmp_path / "even.png")
    kept, strength = oracle.FROST[scale][severity - 1]
    x = extremes()
    expected = (kept * x + strength * torch.tensor([0.2, 0.4, 0.6]).view(3, 1, 1)).clamp(0, 1)
    assert_close(frost(x, severity, PerImage([0, 1]), scale, tmp_path), expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize(("scale", "step"), [(32, 5.0), (64, 10 / 3), (224, 1.0)])
def test_pictures_of_frost_shrink_for_small_images(scale: int, step: float, slopes: Path):
    x = torch.zeros(1, 3, 8, 8)
    _, strength = oracle.FROST[scale][0]
    place = frost(x, 1, PerImage([0]), scale, slopes)[0] * 255 / strength
    assert_close((place[0, 7] - place[0, 0]) / 7, torch.full((8,), step), rtol=0, atol=1 / 7)  # of whole numbers


def test_a_small_picture_of_frost_is_enlarged(slopes: Path):
    frosted = frost(torch.zeros(1, 3, 180, 60), 1, PerImage([0]), 224, slopes)[0] * 255 / 0.4
    assert_close(frosted[0, [0, -1], 0], torch.tensor([0.0, 89.0]), rtol=0, atol=0.3)


def test_a_changed_picture_of_frost_is_read_again(tmp_path: Path):
    x = torch.zeros(1, 3, 8, 8)
    for colour, changed in ((100, 1), (200, 2)):
        Image.new("RGB", (8, 8), (colour, 0, 0)).save(tmp_path / "even.png")
        os.utime(tmp_path / "even.png", (changed, changed))
        assert_close(frost(x, 1, PerImage([0]), 224, tmp_path)[0, 0] / 0.4, torch.full((8, 8), colour / 255))


def test_generated_frost_is_as_bright_as_it_says_and_has_edges():
    frozen = windows()
    assert frozen.shape == (5, 3, 512, 512)
    assert frozen.dtype == torch.uint8
    for picture, window in zip(frozen / 255, WINDOWS, strict=True):
        assert_close(picture.mean((1, 2)), torch.tensor(window.mean), rtol=0, atol=2e-3)
        assert_close(picture.std((1, 2)), torch.full((3,), window.deviation), rtol=0.02, atol=0)
        assert picture.diff(dim=1).abs().amax() > 0.2 * window.deviation


def test_all_generated_windows_are_used():
    x = torch.zeros(64, 3, 8, 8)
    reddish = corrupt(x, "frost", 1, range(64), scale=224)[:, 0].mean((1, 2)) / 0.4
    means = torch.tensor([window.mean[0] for window in WINDOWS])
    nearest = (reddish[:, None] - means).abs().argmin(1)
    assert {0, 1, 3, 4} <= set(nearest.tolist())


def test_frost_needs_a_folder_of_pictures(tmp_path: Path):
    x = torch.zeros(1, 3, 8, 8)
    with pytest.raises(ValueError, match=r"(?s)nowhere.* is not a folder: .* is needed\. Correct the path"):
        corrupt(x, "frost", 1, [0], frost_dir=tmp_path / "nowhere")
    with pytest.raises(ValueError, match=r"no pictures in frost_dir=.*at least one file .* is needed\. Put pictures"):
        corrupt(x, "frost", 1, [0], frost_dir=str(tmp_path))
    (tmp_path / "broken.png").write_bytes(b"no picture")
    with pytest.raises(ValueError, match=r"broken\.png cannot be read as a picture .*needed\. Remove it"):
        corrupt(x, "frost", 1, [0], frost_dir=tmp_path)
