"""What all nineteen corruptions obey."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close
from torch.utils.data import DataLoader, Dataset

from renorm.corruptions import CORRUPTIONS, HELD_OUT, SCALES, SEVERITIES, STANDARD, corrupt
from renorm.corruptions.corrupt import PIECE
from tests.corruptions.pictures import (
    DETERMINISTIC,
    NAMES,
    every_name,
    every_scale,
    every_severity,
    one_by_one,
    pictures,
)

SEEDS = (3, 1, 4, 15, 9)
ORDERED = (  # the published parameters of the others do not grow in one direction
    *("gaussian_noise", "shot_noise", "impulse_noise", "speckle_noise", "defocus_blur", "gaussian_blur"),
    *("brightness", "contrast", "pixelate", "jpeg_compression"),
)
COLOURLESS = (  # where all channels are treated alike
    *("defocus_blur", "glass_blur", "motion_blur", "zoom_blur", "gaussian_blur", "fog", "snow", "brightness"),
    *("contrast", "elastic_transform", "pixelate"),
)
STEADY = ("defocus_blur", "glass_blur", "motion_blur", "zoom_blur", "gaussian_blur", "elastic_transform", "pixelate")


def test_all_nineteen_are_there_in_the_published_order():
    assert tuple(CORRUPTIONS) == STANDARD + HELD_OUT
    assert (len(STANDARD), len(HELD_OUT)) == (15, 4)
    assert all(function.__name__ == name for name, function in CORRUPTIONS.items())


@every_name
@every_scale
def test_shape_and_range_stay_and_the_input_too(name: str, scale: int):
    x = pictures(2)
    before = x.clone()
    for severity in SEVERITIES:
        y = corrupt(x, name, severity, [0, 1], scale)
        assert y.shape == x.shape
        assert y.dtype == torch.float32
        assert y.amin() >= 0
        assert y.amax() <= 1
        assert_close(x, before, rtol=0, atol=0)


@every_name
@pytest.mark.parametrize("size", [(8, 8), (8, 40), (33, 9)])
@every_scale
def test_small_odd_and_narrow_images(name: str, size: tuple[int, int], scale: int):
    y = corrupt(pictures(2, *size), name, 5, [0, 1], scale)
    assert y.shape == (2, 3, *size)
    assert y.amin() >= 0
    assert y.amax() <= 1


@every_name
def test_an_empty_batch_stays_empty(name: str):
    assert corrupt(torch.empty(0, 3, 9, 11), name, 1, []).shape == (0, 3, 9, 11)
    assert corrupt(torch.empty(0, 3, 9, 11, dtype=torch.uint8), name, 1, []).dtype == torch.uint8


@every_name
def test_bytes_are_the_rounded_floats(name: str):
    x = (pictures() * 255).round().to(torch.uint8)
    for severity in SEVERITIES:
        y = corrupt(x, name, severity, SEEDS)
        assert y.dtype == torch.uint8
        assert torch.equal(y, (corrupt(x / 255, name, severity, SEEDS) * 255).round().to(torch.uint8))


@every_name
@pytest.mark.parametrize("dtype", [torch.float64, torch.float16, torch.bfloat16])
def test_other_floats_are_computed_in_single_precision(name: str, dtype: torch.dtype):
    x = pictures().to(dtype)
    y = corrupt(x, name, 3, SEEDS)
    assert y.dtype == dtype
    assert torch.equal(y, corrupt(x.float(), name, 3, SEEDS).to(dtype))


def check_independence_of_the_batch(
    name: str, severity: int, scale: int | None = None, size: tuple[int, int] = (19, 23)
):
    x = pictures(5, *size)
    together = corrupt(x, name, severity, SEEDS, scale)
    assert torch.equal(one_by_one(x, name, severity, SEEDS, scale), together)
    order = [4, 0, 3, 1]
    assert torch.equal(corrupt(x[order], name, severity, torch.tensor(SEEDS)[order], scale), together[order])


@every_name
@every_severity
def test_pixels_do_not_depend_on_batch_size_or_order(name: str, severity: int):
    check_independence_of_the_batch(name, severity, scale=SCALES[severity % 3])


@every_name
def test_the_same_for_images_of_a_natural_size(name: str):
    check_independence_of_the_batch(name, 3, size=(129, 120))


def test_the_law_catches_noise_drawn_for_the_batch(monkeypatch: pytest.MonkeyPatch):
    def naive(x: Tensor, severity: int, draw: object, scale: int) -> Tensor:
        return (x + 0.1 * torch.randn(x.shape, generator=torch.Generator().manual_seed(severity))).clamp(0, 1)

    monkeypatch.setitem(CORRUPTIONS, "gaussian_noise", naive)
    with pytest.raises(AssertionError):
        check_independence_of_the_batch("gaussian_noise", 2)


@every_name
def test_pixels_do_not_depend_on_the_pieces_a_batch_is_cut_into(name: str, monkeypatch: pytest.MonkeyPatch):
    x = pictures()
    whole = corrupt(x, name, 4, SEEDS)
    monkeypatch.setitem(PIECE, "cpu", 2 * x[0].numel())
    assert torch.equal(corrupt(x, name, 4, SEEDS), whole)


@every_name
def test_pixels_do_not_depend_on_layout_or_random_state(name: str):
    x = pictures()
    torch.manual_seed(0)
    state = torch.get_rng_state()
    first = corrupt(x, name, 3, SEEDS)
    assert torch.equal(torch.get_rng_state(), state)
    torch.manual_seed(1)
    y = corrupt(x.to(memory_format=torch.channels_last), name, 3, SEEDS)
    assert torch.equal(y, first)
    assert y.is_contiguous(memory_format=torch.channels_last)
    assert torch.equal(corrupt(x.flip(-1).flip(-1), name, 3, SEEDS), first)
    assert torch.equal(corrupt(x.double()[..., ::1].float().requires_grad_(), name, 3, SEEDS), first)


@every_name
def test_pixels_do_not_depend_on_threads(name: str):
    x, threads = pictures(2, 120, 122), torch.get_num_threads()
    one = corrupt(x, name, 5, [1, 2])
    try:
        torch.set_num_threads(2)
        assert torch.equal(corrupt(x, name, 5, [1, 2]), one)
    finally:
        torch.set_num_threads(threads)


class Corrupted(Dataset[Tensor]):
    """Image 0 to 4 under each corruption."""

    def __len__(self) -> int:
        return 5 * len(NAMES)

    def __getitem__(self, index: int) -> Tensor:
        which, image = divmod(index, 5)
        return corrupt(pictures()[image : image + 1], NAMES[which], 2, [image])[0]


def test_pixels_do_not_depend_on_workers():
    apart = torch.cat(list(DataLoader(Corrupted(), batch_size=7, num_workers=2)))
    together = torch.cat([corrupt(pictures(), name, 2, range(5)) for name in NAMES])
    assert torch.equal(apart, together)


@every_name
def test_seeds_matter_where_chance_has_a_part_and_only_there(name: str):
    x = pictures(1).expand(2, -1, -1, -1)
    first, second = corrupt(x, name, 3, [1, 2])
    assert torch.equal(first, second) == (name in DETERMINISTIC)
    assert torch.equal(corrupt(x, name, 3, [7, 7])[0], corrupt(x, name, 3, [7, 7])[1])


@every_name
@every_scale
def test_every_cell_differs_from_the_clean_image_and_from_the_others(name: str, scale: int):
    x = pictures(3, 48, 64)
    cells = [x, *(corrupt(x, name, severity, [0, 1, 2], scale) for severity in SEVERITIES)]
    for i, a in enumerate(cells):
        for b in cells[:i]:
            assert (a - b).abs().mean() > 1e-4


@pytest.mark.parametrize("name", ORDERED)
@every_scale
def test_severities_grow(name: str, scale: int):
    x = pictures(4, max(scale, 64), 66)
    distances = [(corrupt(x, name, severity, range(4), scale) - x).abs().mean().item() for severity in SEVERITIES]
    assert distances == sorted(distances)
    assert distances[0] > 0


@pytest.mark.parametrize("name", COLOURLESS)
def test_grey_images_stay_grey(name: str):
    x = pictures(3, 24, 24).mean(1, keepdim=True).expand(-1, 3, -1, -1)
    for severity in SEVERITIES:
        y = corrupt(x, name, severity, range(3))
        assert_close(y.amax(1), y.amin(1), rtol=0, atol=1e-6)


@pytest.mark.parametrize("name", STEADY)
@pytest.mark.parametrize("value", [0, 77, 255])
@every_scale
def test_an_even_image_has_nothing_to_move(name: str, value: int, scale: int):
    x = torch.full((1, 3, 24, 26), value, dtype=torch.uint8)
    for severity in SEVERITIES:
        largest = 4 if (name, scale) == ("defocus_blur", 224) else 0  # its widest published disks sum to 1.01
        assert_close(corrupt(x, name, severity, [5], scale).int(), x.int(), rtol=0, atol=largest)


@every_name
@pytest.mark.parametrize("value", [0.0, 1.0])
def test_black_and_white_images_are_not_broken(name: str, value: float):
    for severity in SEVERITIES:
        y = corrupt(torch.full((1, 3, 16, 16), value), name, severity, [5])
        assert y.isfinite().all()


@pytest.mark.skipif(not torch.cuda.is_available(), reason="compares a CUDA device with the CPU")
@every_name
@every_severity
def test_a_gpu_makes_the_same_pixels(name: str, severity: int):
    x, scale = pictures(5, 64, 66), SCALES[severity % 3]
    expected, found = (corrupt(x.to(device), name, severity, SEEDS, scale).cpu() for device in ("cpu", "cuda"))
    distance = (found - expected).abs()
    # A value on a threshold may fall on either side of it.
    assert (distance > 1e-4).float().mean() < 1e-3
    assert distance.mean() < 1e-5
