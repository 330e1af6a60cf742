import numpy as np
import pytest
import torch
from torch.testing import assert_close

from renorm.corruptions import SCALES, SEVERITIES
from renorm.corruptions import spatter as module
from renorm.corruptions.random import PerImage
from renorm.corruptions.spatter import canny, distance_to
from tests.corruptions.pictures import pictures
from tests.oracles import spatter as oracle

every_cell = pytest.mark.parametrize(("severity", "scale"), [(v, s) for s in SCALES for v in SEVERITIES])


def blots(seed: int, levels: int = 256) -> torch.Tensor:
    """Smooth grey shapes on black, as integers. Shape: ``(2, 1, 23, 29)``."""
    noise = torch.rand(2, 1, 7, 9, generator=torch.Generator().manual_seed(seed))
    smooth = torch.nn.functional.interpolate(noise, (23, 29), mode="bilinear")
    return torch.where(smooth > 0.5, smooth * levels, 0).floor()


@every_cell
def test_spatter(severity: int, scale: int):
    x = pictures(2)
    noise = PerImage([5, 6]).normal((1, 19, 23))[:, 0].numpy()
    images = [image.permute(1, 2, 0).double().numpy() for image in x]
    expected = [oracle.spatter(image, severity, scale, n) for image, n in zip(images, noise, strict=True)]
    ours = module.spatter(x, severity, PerImage([5, 6]), scale)
    assert_close(ours.permute(0, 2, 3, 1).double(), torch.from_numpy(np.stack(expected)), rtol=0, atol=1e-5)


@pytest.mark.parametrize("column", range(5))
def test_the_oracle_notices_a_wrong_constant(column: int, monkeypatch: pytest.MonkeyPatch):
    row = list(module.SPATTER[32][2])
    row[column] *= 1.1
    monkeypatch.setitem(module.SPATTER, 32, (row, row, row))
    with pytest.raises(AssertionError):
        test_spatter(3, 32)


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize(("low", "high"), [(50, 150), (20, 400), (0, 700)])
def test_canny(seed: int, low: int, high: int):
    x = blots(seed)
    expected = np.stack([oracle.canny(image[0].numpy(), low, high) for image in x])
    assert_close(canny(x, low, high)[:, 0], torch.from_numpy(expected))
    assert expected.any()


def test_weak_edges_need_a_path_to_a_strong_one():
    x = torch.zeros(2, 1, 9, 40)
    x[:, :, 5:] = torch.linspace(40, 120, 40)  # a step that grows from left to right
    x[1] = x[1].clamp(max=60)
    edges = canny(x, 50, 400)
    assert edges[0].sum() == 40  # the strong right end keeps the whole line
    assert edges[1].sum() == 0


@pytest.mark.parametrize("num", [0, 1, 3, 40])
@pytest.mark.parametrize("farthest", [5, 20])
def test_distances_are_to_the_nearest_of_all_pixels(num: int, farthest: int):
    chosen = torch.rand(2, 1, 17 * 31, generator=torch.Generator().manual_seed(num)).topk(num).indices
    mask = torch.zeros(2, 1, 17 * 31, dtype=torch.bool).scatter(2, chosen, True).view(2, 1, 17, 31)
    expected = np.stack([oracle.distance(image[0].numpy(), farthest) for image in mask])
    assert_close(distance_to(mask, farthest)[:, 0].double(), torch.from_numpy(expected), rtol=0, atol=1e-5)


def test_a_dry_lens_stays_clear():
    x = torch.zeros(1, 1, 19, 23)
    assert_close(module._shaded(x), x)
