"""Policies of strong views: which operations an image gets, and how much of each."""

from __future__ import annotations

import difflib
import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal, get_args

import numpy as np
import torch

from renorm.data.operations import SIGNED, apply, pillow
from renorm.extras import require

Policy = Literal["randaugment", "autoaugment", "trivialaugment", "augmix"]
LearnedOn = Literal["cifar10", "imagenet", "svhn"]
Operation = tuple[str, float]  # an operation and its magnitude

LEVELS = 30  # the highest magnitude of RandAugment and TrivialAugment
AUGMIX_LEVELS = 10
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
        _check("randaugment", "num_ops", self.num_ops, 0, None)
        _check("randaugment", "magnitude", self.magnitude, 0, LEVELS)

    def sample(self, width: int, height: int) -> list[Operation]:
        """Draw the operations of one image."""
        space = magnitudes(self.magnitude / LEVELS, width, height)
        draws = torch.randint(2 * len(space), (self.num_ops,)).tolist()
        return [_pick(space, draw) for draw in draws]


@dataclass(frozen=True)
class TrivialAugment(Chain):
    """One operation of any magnitude, in the wide ranges.

    Reference: Mueller & Hutter, *TrivialAugment: Tuning-free Yet State-of-the-Art Data Augmentation*, ICCV 2021.
    """

    def sample(self, width: int, height: int) -> list[Operation]:
        """Draw the operation of one image."""
        level, draw = torch.rand(2).tolist()
        space = wide_magnitudes(int(level * (LEVELS + 1)) / LEVELS)
        return [_pick(space, int(draw * 2 * len(space)))]


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
            (name, _signed(name, magnitudes((level or 0) / 9, width, height).get(name, 0), sign < 0.5))
            for (name, probability, level), use, sign in zip(pair, draws[:2], draws[2:], strict=True)
            if use < probability
        ]


@dataclass(frozen=True)
class AugMix:
    r"""The image mixed with a mixture of chains of operations.

    With :math:`w \sim` Dirichlet(1, ..., 1) and :math:`m \sim` Beta(1, 1), the result is
    :math:`m x + (1 - m) \sum_i w_i \, \mathrm{chain}_i(x)`. The operations are those that are no corruption of the
    common benchmark. The consistency loss of the paper is no part of a view.

    Args:
        severity: highest level of an operation, 1 to 10.
        width: number of chains.
        depth: operations of each chain; None draws 1 to 3.

    Raises:
        ValueError: a number is out of range.

    Reference: Hendrycks et al., *AugMix: A Simple Data Processing Method to Improve Robustness and Uncertainty*, ICLR
    2020.
    """

    severity: int = 3
    width: int = 3
    depth: int | None = None

    def __post_init__(self) -> None:
        _check("augmix", "magnitude", self.severity, 1, AUGMIX_LEVELS)
        _check("augmix", "width", self.width, 1, None)
        if self.depth is not None:
            _check("augmix", "num_ops", self.depth, 1, None)

    def sample(self, width: int, height: int) -> tuple[list[float], list[list[Operation]]]:
        """Draw weights, the first of the image itself, and chains."""
        share, *draws = torch.rand(1 + 2 * self.width).tolist()
        exponentials = [-math.log1p(-draw) for draw in draws[: self.width]]
        weights = [(1 - share) * each / max(sum(exponentials), 1e-30) for each in exponentials]
        depths = [self.depth or 1 + int(3 * draw) for draw in draws[self.width :]]
        return [share, *weights], [self._chain(depth, width, height) for depth in depths]

    def _chain(self, depth: int, width: int, height: int) -> list[Operation]:
        steps = []
        for level, draw in torch.rand(depth, 2).tolist():
            space = mild_magnitudes((0.1 + level * (self.severity - 0.1)) / AUGMIX_LEVELS, width, height)
            steps.append(_pick(space, int(draw * 2 * len(space))))
        return steps

    def __call__(self, picture: Any) -> Any:
        """Change a Pillow image."""
        weights, chains = self.sample(*picture.size)
        mixture = weights[0] * np.asarray(picture, np.float32)
        for weight, chain in zip(weights[1:], chains, strict=True):
            changed = picture
            for name, magnitude in chain:
                changed = apply(changed, name, magnitude, smooth=True)
            mixture += weight * np.asarray(changed, np.float32)
        return pillow().fromarray(mixture.round().clip(0, 255).astype(np.uint8))


def magnitudes(level: float, width: int, height: int) -> dict[str, float]:
    """Magnitudes of RandAugment's and AutoAugment's operations at a level of 0 to 1."""
    return {
        "Identity": 0,
        "ShearX": 0.3 * level,
        "ShearY": 0.3 * level,
        "TranslateX": 150 / 331 * width * level,
        "TranslateY": 150 / 331 * height * level,
        "Rotate": 30 * level,
        "Brightness": 0.9 * level,
        "Color": 0.9 * level,
        "Contrast": 0.9 * level,
        "Sharpness": 0.9 * level,
        "Posterize": 8 - round(4 * level),
        "Solarize": 255 * (1 - level),
        "AutoContrast": 0,
        "Equalize": 0,
    }


def wide_magnitudes(level: float) -> dict[str, float]:
    """Magnitudes of TrivialAugment's operations at a level of 0 to 1."""
    return {
        "Identity": 0,
        "ShearX": 0.99 * level,
        "ShearY": 0.99 * level,
        "TranslateX": 32 * level,
        "TranslateY": 32 * level,
        "Rotate": 135 * level,
        "Brightness": 0.99 * level,
        "Color": 0.99 * level,
        "Contrast": 0.99 * level,
        "Sharpness": 0.99 * level,
        "Posterize": 8 - round(6 * level),
        "Solarize": 255 * (1 - level),
        "AutoContrast": 0,
        "Equalize": 0,
    }


def mild_magnitudes(level: float, width: int, height: int) -> dict[str, float]:
    """Magnitudes of AugMix's operations at a level of 0 to 1."""
    return {
        "AutoContrast": 0,
        "Equalize": 0,
        "Posterize": 4 - int(4 * level),
        "Rotate": int(30 * level),
        "Solarize": 256 - int(256 * level),
        "ShearX": 0.3 * level,
        "ShearY": 0.3 * level,
        "TranslateX": int(width / 3 * level),
        "TranslateY": int(height / 3 * level),
    }


def _pick(space: Mapping[str, float], draw: int) -> Operation:
    """The operation and sign that a draw below ``2 * len(space)`` stands for."""
    name = list(space)[draw // 2]
    return name, _signed(name, space[name], draw % 2 == 1)


def _signed(name: str, magnitude: float, negative: bool) -> float:
    return -magnitude if negative and name in SIGNED else magnitude


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


def _check(policy: str, what: str, given: int, lowest: int, highest: int | None) -> None:
    if given < lowest or (highest is not None and given > highest):
        needed = f"at least {lowest}" if highest is None else f"{lowest} to {highest}"
        raise ValueError(f"{policy} with {what}={given}: {needed} is needed. Change it, or leave it out.")
