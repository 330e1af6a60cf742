"""Operations against torchvision's, which shares no code with ours but Pillow's own."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch.testing import assert_close
from torchvision.transforms import InterpolationMode
from torchvision.transforms.v2 import functional as F

from renorm.data.operations import GREY, MAPS, OPERATIONS, apply, to_picture, to_tensor

NAMES = (*MAPS, *OPERATIONS)


def noise(height: int = 13, width: int = 17) -> torch.Tensor:
    generator = torch.Generator().manual_seed(3)
    low, high = torch.tensor([9, 100, 0]).view(3, 1, 1), torch.tensor([70, 250, 30]).view(3, 1, 1)
    return (low + torch.rand(3, height, width, generator=generator) * (high - low)).to(torch.uint8)


IMAGES = {
    "noise": noise(),
    "one value": torch.full((3, 5, 7), 60, dtype=torch.uint8),
    "two values": torch.tensor([0, 255], dtype=torch.uint8).repeat(3, 7, 4),
    "one channel flat": torch.cat([noise()[:2], torch.full((1, 13, 17), 99, dtype=torch.uint8)]),
    "large": torch.randint(0, 256, (3, 120, 90), dtype=torch.uint8, generator=torch.Generator().manual_seed(1)),
}


def of_torchvision(picture: Any, name: str, magnitude: float, smooth: bool) -> Any:
    kind = InterpolationMode.BILINEAR if smooth else InterpolationMode.NEAREST
    fill: Any = [GREY] * 3
    degrees = math.degrees(math.atan(magnitude))
    affine = {
        "ShearX": ([0, 0], [degrees, 0.0], [0, 0]),
        "ShearY": ([0, 0], [0.0, degrees], [0, 0]),
        "TranslateX": ([int(magnitude), 0], [0.0, 0.0], None),
        "TranslateY": ([0, int(magnitude)], [0.0, 0.0], None),
    }
    if name in affine:
        translate, shear, center = affine[name]
        center_: Any = center
        return F.affine(picture, 0.0, translate, 1.0, shear, kind, fill, center_)
    return {
        "Identity": lambda: picture,
        "Rotate": lambda: F.rotate(picture, magnitude, kind, fill=fill),
        "Brightness": lambda: F.adjust_brightness(picture, 1 + magnitude),
        "Color": lambda: F.adjust_saturation(picture, 1 + magnitude),
        "Contrast": lambda: F.adjust_contrast(picture, 1 + magnitude),
        "Sharpness": lambda: F.adjust_sharpness(picture, 1 + magnitude),
        "Posterize": lambda: F.posterize(picture, int(magnitude)),
        "Solarize": lambda: F.solarize(picture, magnitude),
        "AutoContrast": lambda: F.autocontrast(picture),
        "Equalize": lambda: F.equalize(picture),
        "Invert": lambda: F.invert(picture),
    }[name]()


MAGNITUDES = {
    "ShearX": (0.3, -0.17),
    "ShearY": (0.99, -0.1),
    "TranslateX": (4.9, -4.9, 0.0),
    "TranslateY": (3.0, -20.0),
    "Rotate": (9.0, -135.0, 0.0),
    "Posterize": (8, 5, 2),
    "Solarize": (255.0, 178.5, 0.0),
}


@pytest.mark.parametrize("image", IMAGES.values(), ids=IMAGES)
@pytest.mark.parametrize("name", NAMES)
def test_an_operation_is_torchvisions(name: str, image: torch.Tensor):
    picture = to_picture(image)
    for magnitude in MAGNITUDES.get(name, (0.27, -0.9, 0.0)):
        for smooth in (False, True):
            ours = to_tensor(apply(picture, name, magnitude, smooth))
            theirs = to_tensor(of_torchvision(picture, name, magnitude, smooth))
            rounding = 1 if smooth and name.startswith("Shear") else 0  # torchvision takes the slope through degrees
            assert_close(ours, theirs, rtol=0, atol=rounding)
    assert torch.equal(to_tensor(picture), image)


def test_tensors_become_pictures_and_come_back():
    image = noise(5, 9)
    picture = to_picture(image)
    assert picture.size == (9, 5)
    assert picture.getpixel((8, 4)) == tuple(image[:, 4, 8].tolist())
    assert torch.equal(to_tensor(picture), image)
    assert to_tensor(picture).is_contiguous()


def test_the_comparison_catches_a_direction():
    picture = to_picture(noise())
    assert not torch.equal(
        to_tensor(apply(picture, "TranslateX", 3.0)), to_tensor(of_torchvision(picture, "TranslateX", -3.0, False))
    )
