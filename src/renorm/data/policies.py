"""Policies of strong views: which operations an image gets, and how much of each."""

from __future__ import annotations

import difflib
from abc import ABC, abstractmethod
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal, get_args

import torch

from renorm.data.augmix import AugMix
from renorm.data.magnitudes import Operation, check_number, magnitudes, pick, signed, wide_magnitudes
from renorm.data.operations import apply
from renorm.extras import require

Policy = Literal["randaugment", "autoaugment", "trivialaugment", "augmix"]
LearnedOn = Literal["cifar10", "imagenet", "svhn"]

LEVELS = 30  # the highest magnitude of RandAugment and TrivialAugment
FIXED = ("autoaugment", "trivialaugment")  # policies without numbers to choose


class Chain(ABC):
    """A policy that applies operations one after the other."""

    @abstractmethod
    def sample(self, width: int, height: int) -> list[Operation]:
        """Draw the operations of one image."""

    def __call__(self, picture: Any) -> Any:
        """Change a Pillow image."""
        for name, magnitude in self.sample(*picture.size):
            picture = apply(picture, name, magnitude)
        return picture


@dataclass(frozen=True)
class RandAugment(Chain):
    """So many operations, each drawn from 14, all of one magnitude.

    Args:
        num_ops: operations per image.
        magnitude: 0 to 30.

    Raises:
        ValueError: a number is out of range.

    Reference: Cubuk et al., *RandAugment: Practical Automated Data Augmentation with a Reduced Search Space*, 2020.
    """

    num_ops: int = 2
    magnitude: int = 9

    def __post_init__(self) -> None:
        check_number("randaugment", "num_ops", self.num_ops, 0, None)
        check_number("randaugment", "magnitude", self.magnitude, 0, LEVELS)

    def sample(self, width: int, height: int) -> list[Operation]:
        """Draw the operations of one image."""
        space = magnitudes(self.magnitude / LEVELS, width, height)
        draws = torch.randint(2 * len(space), (self.num_ops,)).tolist()
        return [pick(space, draw) for draw in draws]


@dataclass(frozen=True)
class TrivialAugment(Chain):
    """One operation of any magnitude, in the wide ranges.

    Reference: Mueller & Hutter, *TrivialAugment: Tuning-free Yet State-of-the-Art Data Augmentation*, ICCV 2021.
    """

    def sample(self, width: int, height: int) -> list[Operation]:
        """Draw the operation of one image."""
        level, draw = torch.rand(2).tolist()
        space = wide_magnitudes(int(level * (LEVELS + 1)) / LEVELS)
        return [pick(space, int(draw * 2 * len(space)))]


@dataclass(frozen=True)
class AutoAugment(Chain):
    """One of 25 learned pairs of operations, each with its probability and magnitude.

    Args:
        learned_on: the data that the pairs were learned on.

    Reference: Cubuk et al., *AutoAugment: Learning Augmentation Strategies from Data*, CVPR 2019; the pairs are those of
    torchvision.
    """

    learned_on: LearnedOn = "cifar10"

    @cached_property
    def pairs(self) -> list[tuple[tuple[str, float, int | None], ...]]:
        """Operation, probability and magnitude, 0 to 9."""
        transforms = require("torchvision.transforms")
        return transforms.AutoAugment(transforms.AutoAugmentPolicy(self.learned_on)).policies

    def sample(self, width: int, height: int) -> list[Operation]:
        """Draw the operations of one image."""
        which, *draws = torch.rand(5).tolist()
        pair = self.pairs[int(which * len(self.pairs))]
        return [
            (name, signed(name, magnitudes((level or 0) / 9, width, height).get(name, 0), sign < 0.5))
            for (name, probability, level), use, sign in zip(pair, draws[:2], draws[2:], strict=True)
            if use < probability
        ]


def policy(
    name: str, *, num_ops: int | None = None, magnitude: int | None = None, learned_on: LearnedOn = "cifar10"
) -> Chain | AugMix:
    """Policy of a name, with the published settings unless given.

    Args:
        name: ``randaugment``, ``autoaugment``, ``trivialaugment`` or ``augmix``.
        num_ops: operations of RandAugment (2 unless given), or of each chain of AugMix (1 to 3, drawn, unless given).
        magnitude: of RandAugment, 0 to 30 (9 unless given); the severity of AugMix, 1 to 10 (3 unless given).
        learned_on: data whose learned pairs AutoAugment uses.

    Raises:
        ValueError: an unknown name, a number out of range, or one that the policy draws itself.
    """
    given = {key: value for key, value in (("num_ops", num_ops), ("magnitude", magnitude)) if value is not None}
    if name == "randaugment":
        return RandAugment(**given)
    if name == "augmix":
        return AugMix(severity=3 if magnitude is None else magnitude, depth=num_ops)
    if name not in FIXED:
        close = difflib.get_close_matches(name, get_args(Policy), n=1)
        meant = f"Did you mean {close[0]!r}?" if close else "Choose one of them."
        raise ValueError(f"no policy is called {name!r}: one of {', '.join(get_args(Policy))} is needed. {meant}")
    if given:
        raise ValueError(
            f"{' and '.join(f'{key}={value}' for key, value in given.items())} for {name}, which has numbers and "
            "magnitudes of its own: none is needed. Leave it out, or use randaugment or augmix."
        )
    return TrivialAugment() if name == "trivialaugment" else AutoAugment(learned_on)
