"""A shift is a function of each image, its index and the seed; names stand for one or many."""

import io
from dataclasses import replace

import pytest
import torch
from PIL import Image
from torch import Tensor
from torch.testing import assert_close

from renorm import corruptions
from renorm.corruptions import HELD_OUT, STANDARD
from renorm.data import Images
from renorm.seeds import stable_seed
from renorm.shifts import DEFAULT, Rounding, Shift, is_made, make_shifts
from tests.evaluate.conftest import make_view


def labels(*names: str) -> list[str]:
    return [shift.label for shift in make_shifts(names, make_view)]


@pytest.mark.parametrize("name", ["clean", "weak", "strong", "gaussian_noise:2", "contrast:5"])
def test_a_shift_depends_on_the_index_and_the_seed_only(images: Images, name: str):
    (shift,) = make_shifts([name], make_view)
    pixels, order = images.batch(range(9))[0], torch.randperm(9)
    together = shift(pixels, torch.arange(9))
    assert together.dtype == torch.uint8
    assert torch.equal(shift(pixels[order], order), together[order])
    if name not in ("clean", "contrast:5"):
        assert not torch.equal(replace(shift, seed=1)(pixels, torch.arange(9)), together)


def test_a_corruption_without_severity_is_all_five():
    assert labels("clean", "contrast") == ["clean", *(f"contrast {severity}" for severity in range(1, 6))]


def test_groups_are_their_corruptions():
    assert labels("standard") == [f"{name} {severity}" for name in STANDARD for severity in range(1, 6)]
    assert labels("held-out:5") == [f"{name} 5" for name in HELD_OUT]
    assert labels("corruptions") == labels("standard", "held-out")
    assert len(labels("corruptions")) == 95
    assert labels("contrast:3", "quick", "contrast") == list(dict.fromkeys(["contrast 3", *labels("quick")]))
    assert labels(*DEFAULT) == ["clean", "weak", "strong", *labels("quick")]
    assert len(labels("quick")) == 20


@pytest.mark.parametrize("scale", [32, 64, 224])
def test_the_scale_chooses_the_severities(images: Images, scale: int):
    (shift,) = make_shifts(["gaussian_noise:3"], make_view, seed=2, scale=scale)
    pixels, seeds = images.batch(range(4))[0], [stable_seed(2, i) for i in range(4)]
    expected = corruptions.corrupt(pixels, "gaussian_noise", 3, seeds, scale)
    assert torch.equal(shift(pixels, torch.arange(4)), expected)


def jpeg(image: Tensor) -> Tensor:
    """Through a file of the quality that ImageNet-C has."""
    buffer = io.BytesIO()
    Image.fromarray(image.permute(1, 2, 0).numpy()).save(buffer, "JPEG", quality=85)
    return torch.tensor(list(Image.open(buffer).tobytes()), dtype=torch.uint8).view(16, 16, 3).permute(2, 0, 1)


def test_rounding(images: Images):
    pixels, indices = images.batch(range(4))[0], torch.arange(4)

    def shown(rounding: Rounding) -> Tensor:
        (shift,) = make_shifts(["contrast:3"], make_view, rounding=rounding)
        return shift(pixels, indices)

    kept, rounded, coded = shown("none"), shown("8-bit"), shown("jpeg")
    assert kept.dtype == torch.float32
    assert (kept * 255 - (kept * 255).round()).abs().max() > 0.1
    assert_close(rounded, (kept * 255).round().to(torch.uint8), rtol=0, atol=1)
    assert torch.equal(coded, torch.stack([jpeg(image) for image in rounded]))
    with pytest.raises(ValueError, match=r"rounding 'bits' is unknown: one of none, 8-bit, jpeg is needed"):
        Shift("contrast", 3, rounding="bits")  # pyright: ignore[reportArgumentType]


@pytest.mark.parametrize("name", ["contrst", "contrast:6", "clean:1", "standrd", "held-out:0"])
def test_unknown_shifts_say_what_there_is(name: str):
    with pytest.raises(ValueError, match=rf"unknown shift '{name}': one of clean, weak, .* is needed.*Did you mean"):
        make_shifts([name], make_view)


def test_what_is_made_and_what_is_read():
    assert all(is_made(name) for name in ("clean", "contrast", "contrast:2", "standard", "held-out:5"))
    assert not any(is_made(name) for name in ("domains", "photo", "CIFAR-10-C", "./fog"))
