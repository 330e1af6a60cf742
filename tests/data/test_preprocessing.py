from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.testing import assert_close

import renorm
from renorm.data import Frame, Images, Preprocessing, load, preprocessing_of, read_again
from renorm.extras import require
from tests.data.pictures import write_image

Image: Any = require("PIL.Image")
timm: Any = require("timm")
SIZES = ((320, 256), (300, 512), (97, 500), (640, 480), (333, 217), (60, 40))


@pytest.fixture(scope="module")
def pictures() -> list[Any]:
    rng = np.random.default_rng(0)
    return [
        Image.fromarray(rng.integers(0, 255, (h // 4, w // 4, 3), np.uint8)).resize((w, h), Image.Resampling.BICUBIC)
        for w, h in SIZES
    ]


class Described(nn.Module):
    """A model that timm describes."""

    def __init__(self, **config: Any) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(3)
        self.pretrained_cfg = config


NAMES = ("tf_efficientnet_lite0", "resnet18", "resnet50", "tf_efficientnet_b3", "mobilenetv3_large_100", "regnety_032")


@pytest.mark.parametrize("name", NAMES)
def test_timms_models_say_what_timm_resolves(name: str, pictures: list[Any]):
    config = timm.get_pretrained_cfg(name).to_dict()
    said = preprocessing_of(Described(**config))
    theirs = timm.data.resolve_data_config(pretrained_cfg=config)
    assert said.frame is not None
    assert said.frame.size == theirs["input_size"][:0:-1]
    assert (said.frame.crop, said.frame.interpolation) == (theirs["crop_pct"], theirs["interpolation"])
    assert (said.mean, said.std) == (theirs["mean"], theirs["std"])
    transform = timm.data.create_transform(**{**theirs, "mean": (0, 0, 0), "std": (1, 1, 1)})
    for picture in pictures:
        shown = torch.from_numpy(np.array(said.frame.show(picture))).permute(2, 0, 1)
        assert_close((255 * transform(picture)).round().to(torch.uint8), shown, rtol=0, atol=0)


@pytest.mark.parametrize(
    "frame",
    [
        Frame((224, 224), 0.95, "bicubic", True),
        Frame((64, 64), 1.0, "bilinear"),
        Frame((160, 288), 0.9, "bicubic", True),
    ],
)
def test_the_part_that_is_shown_is_timms(frame: Frame, pictures: list[Any]):
    mode = "squash" if frame.squash else "center"
    options = {"crop_pct": frame.crop, "interpolation": frame.interpolation, "crop_mode": mode}
    transform = timm.data.create_transform((3, *frame.size[::-1]), **options, mean=(0, 0, 0), std=(1, 1, 1))
    for picture in pictures:
        shown = torch.from_numpy(np.array(frame.show(picture))).permute(2, 0, 1)
        assert_close((255 * transform(picture)).round().to(torch.uint8), shown, rtol=0, atol=0)


@pytest.mark.parametrize("name", ["resnet50", "efficientnet_b3", "efficientnet_v2_s", "inception_v3"])
def test_torchvisions_weights_say_what_their_transforms_do(name: str, pictures: list[Any]):
    transforms = require("torchvision.models").get_model_weights(name).DEFAULT.transforms()
    said = preprocessing_of(transforms)
    assert said.frame is not None
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in (said.mean, said.std))
    for picture in pictures:
        shown = torch.from_numpy(np.array(said.frame.show(picture))).permute(2, 0, 1)
        assert_close((shown / 255 - mean) / std, transforms(picture), rtol=0, atol=1e-5)


def test_it_is_said_in_a_line():
    config = {"input_size": (3, 288, 320), "mean": (0.5, 0.5, 0.5), "std": (0.2, 0.3, 0.4), "crop_pct": 1.0}
    assert str(preprocessing_of(Described(**config))) == (
        "320 x 288 px, crop 1, bicubic, mean 0.5 std 0.2 0.3 0.4, from the model's pretrained_cfg"
    )
    by_hand = {"mean": (0.5, 0.5, 0.5), "std": (0.5, 0.5, 0.5)}
    assert str(preprocessing_of(Described(**by_hand))) == "mean 0.5 std 0.5, from the model's pretrained_cfg"
    assert str(Preprocessing(Frame((32, 32)))).startswith("32 px, not cropped, bilinear, mean 0.485")
    assert str(Preprocessing()) == "mean 0.485 0.456 0.406 std 0.229 0.224 0.225"


def test_split_and_wrapped_models_say_the_same():
    model = timm.create_model("resnet18")
    said = preprocessing_of(model)
    renorm.split_(model, ["weak", "strong"])
    assert preprocessing_of(model) == said
    assert preprocessing_of(nn.DataParallel(model)) == said
    assert preprocessing_of(renorm.fold(model, "weak")) == said


@pytest.mark.parametrize(
    ("like", "message"),
    [
        (nn.Linear(2, 2), "Linear does not say how its input is made: .* Give torchvision's transforms, as"),
        (Described(), "Described does not say how its input is made"),
        (Described(input_size=(1, 28, 28)), "asks for 1 channels and the crop mode 'center': images are RGB"),
        (
            Described(input_size=(3, 9, 9), crop_mode="border"),
            "crop mode 'border': .* Give a renorm.data.Preprocessing",
        ),
    ],
)
def test_what_is_not_said_is_not_guessed(like: Any, message: str, tmp_path: Path):
    write_image(tmp_path / "a.png")
    with pytest.raises(ValueError, match=message):
        load(tmp_path, model=like)
    with pytest.raises(ValueError, match=message):
        load(tmp_path).normalized(like=like)


def halves(**config: Any) -> Described:
    return Described(input_size=(3, 40, 40), mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5), crop_pct=0.8, **config)


def test_images_are_loaded_as_a_model_wants_them(tmp_path: Path, pictures: list[Any]):
    for i, picture in enumerate(pictures):
        picture.save(tmp_path / f"{i}.png")
    images = load(tmp_path, model=halves())
    frame = Frame((40, 40), 0.8, "bicubic")
    shown = torch.stack([torch.from_numpy(np.array(frame.show(picture))).permute(2, 0, 1) for picture in pictures])
    assert_close(images.normalized(), shown / 255 * 2 - 1, rtol=0, atol=1e-6)
    assert_close(load(tmp_path).normalized(like=halves()), images.normalized(), rtol=0, atol=0)
    assert_close(load(tmp_path, size=130).normalized([2], like=halves()), images.normalized([2]), rtol=0, atol=0)
    assert images.origin is not None
    assert read_again(images.origin).fingerprint == images.fingerprint
    with pytest.raises(ValueError, match="size=30 and model=: one of them says how large images become"):
        load(tmp_path, size=30, model=halves())


def test_decoded_images_become_a_models_too():
    pixels = torch.randint(0, 256, (3, 3, 32, 32), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    images = Images("x", pixels, torch.tensor([0, 1, 0]), ["a", "b"])
    wanted = images.like(halves())
    assert wanted.batch([0, 2])[0].shape == (2, 3, 40, 40)
    frame = Frame((40, 40), 0.8, "bicubic")
    expected = np.array(frame.show(Image.fromarray(pixels[2].permute(1, 2, 0).numpy())))
    assert_close(wanted[2][0].permute(1, 2, 0), torch.from_numpy(expected), rtol=0, atol=0)
    same = images.like(Preprocessing(mean=(0.5, 0.5, 0.5)))
    assert same.pixels is pixels
    assert same.mean == (0.5, 0.5, 0.5)


@pytest.mark.parametrize("name", ["digits"])
def test_data_sets_with_a_name_become_a_models(name: str):
    images = load(name, "test", model=halves())
    assert images[0][0].shape == (3, 40, 40)
    assert images.mean == (0.5, 0.5, 0.5)


def test_a_small_first_image_does_not_set_the_size_of_all(tmp_path: Path, pictures: list[Any]):
    for i in (5, 0, 3):  # 60 x 40, then larger ones
        pictures[i].save(tmp_path / f"{9 - i}.png")
    pictures[5].save(tmp_path / "0.png")
    images = load(tmp_path)
    assert {tuple(image.shape) for image, _ in images} == {(3, 224, 224)}


@pytest.mark.parametrize(
    ("mean", "std"), [((127.0, 127.0, 127.0), (58.0, 58.0, 58.0)), ((0.5, 0.5, 0.5), (0.2, 0.0, 0.2))]
)
def test_numbers_of_other_images_than_from_0_to_1_are_refused(mean: Any, std: Any):
    with pytest.raises(
        ValueError,
        match=r"^mean .* and std .* were given .* to 1, white, are needed, and no .* Divide those of images up",
    ):
        Preprocessing(mean=mean, std=std)
