from __future__ import annotations

from collections import Counter, defaultdict
from itertools import pairwise
from typing import Any, get_args

import numpy as np
import pytest
import torch
from torch.testing import assert_close
from torchvision import transforms
from torchvision.transforms import v2

from renorm.data.augmix import AugMix
from renorm.data.magnitudes import magnitudes, mild_magnitudes, wide_magnitudes
from renorm.data.operations import GREY, MAPS, OPERATIONS, SIGNED, to_picture, to_tensor
from renorm.data.policies import AutoAugment, Policy, RandAugment, TrivialAugment, policy


def image(size: int = 20) -> torch.Tensor:
    return torch.randint(0, 256, (3, size, size + 4), dtype=torch.uint8, generator=torch.Generator().manual_seed(4))


def table(kind: Any, level: int, levels: int, width: int = 30, height: int = 50) -> dict[str, float]:
    """Magnitudes of a torchvision policy at a level; its Solarize has a share of 255."""
    found = {name: make(levels, height, width) for name, (make, _) in kind._AUGMENTATION_SPACE.items()}
    scale = {"Solarize": 255.0}
    return {name: 0.0 if x is None else scale.get(name, 1.0) * float(x[level]) for name, x in found.items()}


@pytest.mark.parametrize("level", [0, 9, 14, 30])
def test_magnitudes_are_torchvisions(level: int):
    assert magnitudes(level / 30, 30, 50) == pytest.approx(table(v2.RandAugment, level, 31), rel=1e-5, abs=1e-4)
    assert wide_magnitudes(level / 30) == pytest.approx(table(v2.TrivialAugmentWide, level, 31), rel=1e-5, abs=1e-4)


@pytest.mark.parametrize("level", [0, 4, 9])
def test_autoaugment_has_the_same_magnitudes_in_ten_steps(level: int):
    theirs = table(v2.AutoAugment, level, 10)
    assert theirs.pop("Invert") == 0
    ours = magnitudes(level / 9, 30, 50)
    assert ours.pop("Identity") == 0
    assert ours == pytest.approx(theirs, rel=1e-5, abs=1e-4)


def test_signed_operations_are_torchvisions():
    signed = {name for name, (_, sign) in v2.AutoAugment._AUGMENTATION_SPACE.items() if sign}
    assert signed == SIGNED


def test_mild_magnitudes_are_of_the_papers_operations():
    assert set(mild_magnitudes(0.5, 30, 50)) == set(v2.AugMix._PARTIAL_AUGMENTATION_SPACE)
    assert mild_magnitudes(0.0, 30, 50)["Posterize"] == 4
    assert mild_magnitudes(1.0, 30, 50) == {
        "AutoContrast": 0, "Equalize": 0, "Posterize": 0, "Rotate": 30, "Solarize": 0,
        "ShearX": 0.3, "ShearY": 0.3, "TranslateX": 10, "TranslateY": 16,
    }  # fmt: skip


@pytest.mark.parametrize("num_ops", [0, 1, 3])
def test_randaugment_draws_so_many_of_14_operations_evenly(num_ops: int):
    drawn = [RandAugment(num_ops, 9).sample(32, 32) for _ in range(700)]
    assert {len(steps) for steps in drawn} == {num_ops}
    counts = Counter(name for steps in drawn for name, _ in steps)
    assert set(counts) == (set(magnitudes(0, 1, 1)) if num_ops else set())
    assert all(count > 25 * num_ops for count in counts.values())  # of 50


def test_randaugments_magnitude_is_honoured_and_signs_are_even():
    for magnitude in (0, 9, 30):
        space = magnitudes(magnitude / 30, 32, 40)
        steps = [step for _ in range(300) for step in RandAugment(2, magnitude).sample(32, 40)]
        assert all(abs(value) == space[name] for name, value in steps)
        negative = [value < 0 for name, value in steps if name in SIGNED and space[name]]
        assert not negative or 0.4 < sum(negative) / len(negative) < 0.6


def test_trivialaugment_draws_one_operation_of_every_magnitude():
    drawn = [TrivialAugment().sample(32, 32) for _ in range(3000)]
    assert {len(steps) for steps in drawn} == {1}
    slopes = {round(abs(value) / 0.99 * 30) for ((name, value),) in drawn if name == "ShearX"}
    assert len(slopes) == 31
    assert {name for ((name, _),) in drawn} == set(magnitudes(0, 1, 1))


@pytest.mark.parametrize("learned_on", ["cifar10", "imagenet", "svhn"])
def test_autoaugment_uses_each_pair_as_often_as_it_says(learned_on: Any):
    chosen = AutoAugment(learned_on)
    kind = transforms.AutoAugmentPolicy(learned_on)
    assert chosen.pairs == v2.AutoAugment(kind)._policies
    used = Counter(name for _ in range(2000) for name, _ in chosen.sample(32, 32))
    expected: dict[str, float] = defaultdict(float)
    for name, probability, _ in (step for pair in chosen.pairs for step in pair):
        expected[name] += probability * 2000 / len(chosen.pairs)
    assert set(used) == {name for name, count in expected.items() if count}
    for name, count in expected.items():
        assert abs(used[name] - count) < 5 * count**0.5


@pytest.mark.parametrize("learned_on", ["cifar10", "imagenet", "svhn"])
def test_autoaugments_operations_exist(learned_on: Any):
    names = {name for pair in AutoAugment(learned_on).pairs for name, *_ in pair}
    assert names <= {*MAPS, *OPERATIONS}


def test_augmix_weights_are_a_mixture_and_chains_have_their_depth():
    shares = []
    for depth in (None, 4):
        for _ in range(200):
            weights, chains = AugMix(width=5, depth=depth).sample(32, 32)
            assert len(weights) == 6
            assert min(weights) >= 0
            assert abs(sum(weights) - 1) < 1e-6
            shares.append(weights[0])
            lengths = {len(chain) for chain in chains}
            assert lengths <= ({1, 2, 3} if depth is None else {depth})
    assert 0.45 < np.mean(shares) < 0.55  # Beta(1, 1) is uniform
    assert 0.26 < np.std(shares) < 0.32


@pytest.mark.parametrize("severity", [1, 10])
def test_augmix_severity_bounds_the_levels(severity: int):
    chains = [chain for _ in range(200) for chain in AugMix(severity).sample(30, 30)[1]]
    slopes = [abs(value) / 0.3 for chain in chains for name, value in chain if name.startswith("Shear")]
    assert min(slopes) >= 0.01
    assert 0.8 * severity / 10 < max(slopes) <= severity / 10


def test_augmix_mixes_the_image_with_its_chains(monkeypatch: pytest.MonkeyPatch):
    picture = to_picture(image())
    steps = ([0.25, 0.5, 0.25], [[("TranslateX", 20.0)], [("Solarize", 0.0)]])
    monkeypatch.setattr(AugMix, "sample", lambda self, width, height: steps)
    x = image().double()
    moved = torch.full_like(x, GREY)
    moved[..., 20:] = x[..., :4]
    expected = 0.25 * x + 0.5 * moved + 0.25 * (255 - x)
    mixed = to_tensor(AugMix(width=2)(picture)).double()
    away = [column for column in range(24) if column != 20]  # the border between image and grey is interpolated
    assert_close(mixed[..., away], expected[..., away], rtol=0, atol=0.51)
    assert torch.equal(to_tensor(picture), image())


def test_operations_are_applied_one_after_the_other(monkeypatch: pytest.MonkeyPatch):
    steps = [("TranslateX", 3.0), ("Solarize", 0.0), ("TranslateX", 2.0)]
    monkeypatch.setattr(RandAugment, "sample", lambda self, width, height: steps)
    changed = to_tensor(RandAugment()(to_picture(image())))
    assert torch.equal(changed[..., 5:], 255 - image()[..., :-5])
    assert (changed[..., :2] == GREY).all()
    assert (changed[..., 2:5] == 255 - GREY).all()


def test_more_magnitude_changes_more():
    def change(magnitude: int) -> float:
        torch.manual_seed(1)
        pictures = [to_tensor(RandAugment(2, magnitude)(to_picture(image(32)))) for _ in range(60)]
        return float(torch.stack([(x.float() - image(32)).abs().mean() for x in pictures]).mean())

    assert all(a < b for a, b in pairwise(change(magnitude) for magnitude in (1, 10, 30)))


@pytest.mark.parametrize("name", get_args(Policy))
def test_policies_by_name_have_the_published_settings(name: Policy):
    expected = {
        "randaugment": RandAugment(2, 9),
        "autoaugment": AutoAugment("cifar10"),
        "trivialaugment": TrivialAugment(),
        "augmix": AugMix(severity=3, width=3, depth=None),
    }
    assert policy(name) == expected[name]


def test_numbers_are_honoured_where_they_mean_something():
    assert policy("randaugment", num_ops=3, magnitude=4) == RandAugment(3, 4)
    assert policy("randaugment", num_ops=0) == RandAugment(0, 9)
    assert policy("augmix", num_ops=2, magnitude=5) == AugMix(severity=5, depth=2)


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        (
            "autoaugment",
            {"magnitude": 9},
            r"magnitude=9 for autoaugment, which has .* of its own: none is needed\. Leave",
        ),
        (
            "trivialaugment",
            {"num_ops": 2, "magnitude": 0},
            r"num_ops=2 and magnitude=0 for trivialaugment.*use randaug",
        ),
        ("randaugment", {"magnitude": 31}, r"randaugment with magnitude=31: 0 to 30 is needed\. Change it"),
        ("randaugment", {"num_ops": -1}, r"randaugment with num_ops=-1: at least 0 is needed"),
        ("augmix", {"magnitude": 11}, r"augmix with magnitude=11: 1 to 10 is needed"),
        ("augmix", {"num_ops": 0}, r"augmix with num_ops=0: at least 1 is needed"),
        ("augmx", {}, r"no policy is called 'augmx': one of randaugment, .* is needed\. Did you mean 'augmix'"),
    ],
)
def test_what_a_policy_cannot_do_is_refused(name: str, options: dict[str, Any], message: str):
    with pytest.raises(ValueError, match=message):
        policy(name, **options)
