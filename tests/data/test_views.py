import math
import pickle
from typing import Any, get_args

import pytest
import torch
from torch.testing import assert_close
from torch.utils.data import DataLoader, Dataset

from renorm import data
from renorm.data import crops
from renorm.data.crops import random_box
from renorm.extras import require

POLICIES = get_args(data.Policy)


def image(seed: int = 0, size: int = 24) -> torch.Tensor:
    return torch.randint(1, 256, (3, size, size + 2), dtype=torch.uint8, generator=torch.Generator().manual_seed(seed))


class Seeded(Dataset[torch.Tensor]):
    def __init__(self, policy: data.Policy, size: int) -> None:
        self.view, self.size = data.view("strong", size, policy=policy), size

    def __len__(self) -> int:
        return 12

    def __getitem__(self, index: int) -> torch.Tensor:
        return data.seeded(self.view, image(index, self.size + 4 * (self.size > 96)), 0, 3, index, "strong")


@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize("name", data.VIEWS)
def test_views_keep_shape_and_dtype(name: str, policy: data.Policy):
    view = data.view(name, 24, policy=policy)
    for index in range(20):
        result = data.seeded(view, image(), index)
        assert result.shape == image().shape
        assert result.dtype == torch.uint8


@pytest.mark.parametrize("name", data.VIEWS)
def test_the_image_given_is_left_alone(name: str):
    given = image()
    for index in range(20):
        data.seeded(data.view(name, 24), given, index)
    assert torch.equal(given, image())


def test_clean_is_identity():
    assert torch.equal(data.view("clean", 24)(image()), image())


def test_weak_draws_every_shift_and_flip_evenly():
    view, x = data.Weak(1), image(size=8)
    found = {}
    for index in range(900):
        key = data.seeded(view, x, index).numpy().tobytes()
        found[key] = found.get(key, 0) + 1
    assert len(found) == 3 * 3 * 2
    assert min(found.values()) > 25  # of 50


def test_digits_are_not_mirrored_and_move_less():
    x = torch.zeros(3, 32, 32, dtype=torch.uint8)
    x[:, 10:20, 10] = 255
    for index in range(50):
        rows, columns = data.seeded(data.view("weak", 32, digits=True), x, index)[0].nonzero(as_tuple=True)
        assert 8 <= columns.min() <= columns.max() <= 12
        assert 8 <= rows.min() <= rows.max() <= 21


@pytest.mark.parametrize("size", [24, 100])
@pytest.mark.parametrize(("name", "policy"), [("weak", "randaugment"), *(("strong", policy) for policy in POLICIES)])
def test_a_view_depends_on_its_key_only(name: str, policy: data.Policy, size: int):
    view = data.view(name, size, policy=policy)
    torch.manual_seed(0)
    first = [data.seeded(view, image(), 0, 1, index, name) for index in range(8)]
    torch.manual_seed(5)
    state = torch.get_rng_state()
    again = [data.seeded(view, image(), 0, 1, index, name) for index in reversed(range(8))][::-1]
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))
    other_epoch = [data.seeded(view, image(), 0, 2, index, name) for index in range(8)]
    assert not all(torch.equal(a, b) for a, b in zip(first, other_epoch, strict=True))


@pytest.mark.parametrize(("policy", "size"), [("randaugment", 24), ("augmix", 24), ("autoaugment", 100)])
def test_workers_do_not_change_a_view(policy: data.Policy, size: int):
    data = Seeded(policy, size)
    alone = torch.cat(list(DataLoader(data, batch_size=5)))
    workers = torch.cat(list(DataLoader(data, batch_size=3, num_workers=2, multiprocessing_context="fork")))
    assert torch.equal(alone, workers)


@pytest.mark.parametrize("policy", POLICIES)
def test_views_travel_to_workers_that_are_started_anew(policy: data.Policy):
    view = data.view("strong", 24, policy=policy)
    data.seeded(view, image(), 1)
    again = pickle.loads(pickle.dumps(view))
    assert torch.equal(data.seeded(again, image(), 1), data.seeded(view, image(), 1))


def test_the_generator_is_given_back_after_an_error():
    def broken(image: torch.Tensor) -> torch.Tensor:
        torch.rand(3)
        raise RuntimeError("broken")

    state = torch.get_rng_state()
    with pytest.raises(RuntimeError, match="broken"):
        data.seeded(broken, image(), 0)
    assert torch.equal(torch.get_rng_state(), state)


def test_cutout_is_half_the_side_at_most():
    strong = data.Strong(data.Weak(1), data.RandAugment(num_ops=0))
    white = torch.full((3, 24, 24), 255, dtype=torch.uint8)
    cut = [(data.seeded(strong, white, i)[0] == data.GREY).sum().item() for i in range(50)]
    assert max(cut) == 144
    assert min(cut) < 100


def test_unknown_names_list_close_matches():
    with pytest.raises(ValueError, match=r"'strog': one of clean, weak, strong is needed. Did you mean 'strong'"):
        data.view("strog", 24)


def picture(height: int, width: int) -> torch.Tensor:
    """Red grows from left to right, green from top to bottom, blue is 50."""
    rows, columns = torch.linspace(0, 255, height), torch.linspace(0, 255, width)
    channels = [columns.expand(height, width), rows[:, None].expand(height, width), torch.full((height, width), 50.0)]
    return torch.stack(channels).round().to(torch.uint8)


@pytest.mark.parametrize("name", data.VIEWS)
@pytest.mark.parametrize("crop", ["auto", "padded", "resized"])
@pytest.mark.parametrize("shape", [(150, 210), (300, 120), (100, 100), (40, 60)])
def test_views_of_larger_images_are_squares_of_any_shape(name: str, crop: data.Crop, shape: tuple[int, int]):
    given = picture(*shape)
    for index in range(6):
        result = data.seeded(data.view(name, 100, crop=crop), given, index)
        assert result.shape == (3, 100, 100)
        assert result.dtype == torch.uint8
    assert torch.equal(given, picture(*shape))


def test_clean_shows_the_central_square_of_a_larger_image():
    shown = data.view("clean", 120)(picture(160, 256)).float()
    assert_close(shown[1, 0, 0].item(), 255 * 10 / 160, rtol=0, atol=2)  # 140 of 160 rows
    assert_close(shown[1, -1, 0].item(), 255 * 150 / 160, rtol=0, atol=2)
    assert_close(shown[0, 0, 0].item(), 255 * 58 / 256, rtol=0, atol=2)  # 140 of 256 columns
    assert_close(shown[0, 0, -1].item(), 255 * 198 / 256, rtol=0, atol=2)


def test_clean_leaves_what_has_its_size():
    given = picture(120, 120)
    assert torch.equal(data.view("clean", 120)(given), given)


def test_resized_crops_have_the_areas_and_shapes_they_should():
    generator = torch.Generator().manual_seed(0)
    areas, ratios, corners = [], [], []
    for _ in range(2000):
        top, left, height, width = random_box(400, 600, torch.rand(40, generator=generator).tolist())
        assert 0 <= top <= 400 - height
        assert 0 <= left <= 600 - width
        areas.append(height * width / (400 * 600))
        ratios.append(math.log(width / height))
        corners.append((top + height / 2) / 400)
    assert 0.079 < min(areas) < 0.1
    assert 0.85 < max(areas) < 0.9  # 8/9: the widest part of three by two is four by three
    assert max(map(abs, ratios)) < math.log(4 / 3) + 0.01
    assert abs(sum(corners) / 2000 - 0.5) < 0.01


def test_resized_crops_draw_as_torchvisions():
    """The mean and spread of the area, where large parts often do not fit."""
    generator = torch.Generator().manual_seed(0)
    ours = [random_box(100, 300, torch.rand(40, generator=generator).tolist()) for _ in range(3000)]
    crop = require("torchvision.transforms.v2").RandomResizedCrop(10)
    theirs = [crop.make_params([torch.zeros(3, 100, 300)]) for _ in range(3000)]
    for i, key in enumerate(("top", "left", "height", "width")):
        mine = torch.tensor([float(each[i]) for each in ours])
        other = torch.tensor([float(each[key]) for each in theirs])
        error = float(other.std()) / math.sqrt(3000)
        assert abs(mine.mean() - other.mean()) < 6 * error
        assert abs(mine.std() / other.std() - 1) < 0.12


@pytest.mark.parametrize(("shape", "expected"), [((10, 1000), (0, 493, 10, 13)), ((1000, 10), (493, 0, 13, 10))])
def test_where_no_draw_fits_the_largest_central_part_is_taken(shape: tuple[int, int], expected: tuple[int, ...]):
    assert random_box(*shape, [0.99, 0.5, 0.5, 0.5] * 10) == expected


def test_a_resized_crop_shows_its_part_undistorted(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(crops, "random_box", lambda height, width, draws: (40, 20, 80, 160))
    shown = data.seeded(data.Resized(100, flip=False), picture(200, 400), 0).float()
    assert_close(shown[1, 0, 0].item(), 255 * 40 / 200, rtol=0, atol=2)
    assert_close(shown[1, -1, -1].item(), 255 * 120 / 200, rtol=0, atol=2)
    assert_close(shown[0, 0, 0].item(), 255 * 20 / 400, rtol=0, atol=2)
    assert_close(shown[0, -1, -1].item(), 255 * 180 / 400, rtol=0, atol=2)


@pytest.mark.parametrize("name", data.VIEWS)
def test_resized_crops_make_squares_of_small_images_too(name: str):
    view = data.view(name, 32, crop="resized")
    assert data.seeded(view, picture(32, 40), 0).shape == (3, 32, 32)
    if name == "clean":
        assert torch.equal(view(picture(32, 32)), picture(32, 32))


def test_half_of_resized_crops_are_mirrored_but_no_digits():
    def mirrored(digits: bool) -> int:
        view = data.view("weak", 100, digits=digits)
        shown = [data.seeded(view, picture(120, 140), i)[0].float() for i in range(200)]
        return sum(bool(x[:, 0].mean() > x[:, -1].mean()) for x in shown)

    assert 70 < mirrored(digits=False) < 130
    assert mirrored(digits=True) == 0


def test_the_crop_can_be_chosen():
    assert isinstance(data.view("weak", 32, crop="resized"), data.Resized)
    assert isinstance(data.view("weak", 200, crop="padded"), data.Weak)
    padded = data.view("weak", 200)
    assert isinstance(padded, data.Resized)


@pytest.mark.parametrize(
    ("size", "options", "share"),
    [
        (32, {}, 0.5),
        (200, {}, 0.0),
        (200, {"crop": "padded"}, 0.5),
        (200, {"cutout": 0.25}, 0.25),
        (32, {"cutout": 0}, 0),
    ],
)
def test_cutout_is_for_padded_crops_unless_given(size: int, options: dict[str, Any], share: float):
    view = data.view("strong", size, **options)
    assert isinstance(view, data.Strong)
    assert view.cutout == share


def test_a_cutout_that_is_no_share_is_refused():
    with pytest.raises(ValueError, match=r"cutout=16 is no share .* 0 to 1 is needed: try 0\.5"):
        data.view("strong", 32, cutout=16)


@pytest.mark.parametrize(
    ("size", "digits", "learned_on"),
    [(32, False, "cifar10"), (96, False, "cifar10"), (97, False, "imagenet"), (16, True, "svhn")],
)
def test_autoaugment_uses_what_was_learned_on_the_most_similar_data(size: int, digits: bool, learned_on: str):
    view = data.view("strong", size, digits=digits, policy="autoaugment")
    assert isinstance(view, data.Strong)
    assert view.policy == data.AutoAugment(learned_on)  # type: ignore[arg-type]


def test_settings_reach_the_policy():
    view = data.view("strong", 32, policy="augmix", num_ops=2, magnitude=7)
    assert isinstance(view, data.Strong)
    assert view.policy == data.AugMix(severity=7, depth=2)
    with pytest.raises(ValueError, match="magnitude=3 for trivialaugment"):
        data.view("strong", 32, policy="trivialaugment", magnitude=3)
