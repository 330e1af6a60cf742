from typing import get_args

import pytest
import torch
from torch.utils.data import DataLoader, Dataset

from renorm import augment

POLICIES = get_args(augment.Policy)


def image(seed: int = 0, size: int = 24) -> torch.Tensor:
    return torch.randint(1, 256, (3, size, size + 2), dtype=torch.uint8, generator=torch.Generator().manual_seed(seed))


class Seeded(Dataset[torch.Tensor]):
    def __len__(self) -> int:
        return 12

    def __getitem__(self, index: int) -> torch.Tensor:
        return augment.seeded(augment.view("strong", 24), image(index), 0, 3, index, "strong")


@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize("name", augment.NAMES)
def test_views_keep_shape_and_dtype(name: str, policy: augment.Policy):
    view = augment.view(name, 24, policy=policy)
    for index in range(20):
        result = augment.seeded(view, image(), index)
        assert result.shape == image().shape
        assert result.dtype == torch.uint8


@pytest.mark.parametrize("name", augment.NAMES)
def test_the_image_given_is_left_alone(name: str):
    given = image()
    for index in range(20):
        augment.seeded(augment.view(name, 24), given, index)
    assert torch.equal(given, image())


def test_clean_is_identity():
    assert torch.equal(augment.view("clean", 24)(image()), image())


def test_weak_draws_every_shift_and_flip_evenly():
    view, x = augment.Weak(1), image(size=8)
    found = {}
    for index in range(900):
        key = augment.seeded(view, x, index).numpy().tobytes()
        found[key] = found.get(key, 0) + 1
    assert len(found) == 3 * 3 * 2
    assert min(found.values()) > 25  # of 50


def test_digits_are_not_mirrored_and_move_less():
    x = torch.zeros(3, 32, 32, dtype=torch.uint8)
    x[:, 10:20, 10] = 255
    for index in range(50):
        rows, columns = augment.seeded(augment.view("weak", 32, digits=True), x, index)[0].nonzero(as_tuple=True)
        assert 8 <= columns.min() <= columns.max() <= 12
        assert 8 <= rows.min() <= rows.max() <= 21


@pytest.mark.parametrize("name", ["weak", "strong"])
def test_a_view_depends_on_its_key_only(name: str):
    view = augment.view(name, 24)
    torch.manual_seed(0)
    first = [augment.seeded(view, image(), 0, 1, index, name) for index in range(8)]
    torch.manual_seed(5)
    state = torch.get_rng_state()
    again = [augment.seeded(view, image(), 0, 1, index, name) for index in reversed(range(8))][::-1]
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))
    other_epoch = [augment.seeded(view, image(), 0, 2, index, name) for index in range(8)]
    assert not all(torch.equal(a, b) for a, b in zip(first, other_epoch, strict=True))


def test_workers_do_not_change_a_view():
    alone = torch.cat(list(DataLoader(Seeded(), batch_size=5)))
    workers = torch.cat(list(DataLoader(Seeded(), batch_size=3, num_workers=2, multiprocessing_context="fork")))
    assert torch.equal(alone, workers)


def test_the_generator_is_given_back_after_an_error():
    def broken(image: torch.Tensor) -> torch.Tensor:
        torch.rand(3)
        raise RuntimeError("broken")

    state = torch.get_rng_state()
    with pytest.raises(RuntimeError, match="broken"):
        augment.seeded(broken, image(), 0)
    assert torch.equal(torch.get_rng_state(), state)


def test_cutout_is_half_the_side_at_most():
    strong = augment.Strong(augment.Weak(1), augment.RandAugment(num_ops=0))
    white = torch.full((3, 24, 24), 255, dtype=torch.uint8)
    cut = [(augment.seeded(strong, white, i)[0] == augment.GREY).sum().item() for i in range(50)]
    assert max(cut) == 144
    assert min(cut) < 100


def test_unknown_names_list_close_matches():
    with pytest.raises(ValueError, match=r"'strog': one of clean, weak, strong is needed. Did you mean 'strong'"):
        augment.view("strog", 24)
