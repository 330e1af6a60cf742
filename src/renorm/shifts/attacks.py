"""Attacks as shifts: images that are made against each bank apart, in evaluation mode, with all of the model known."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from renorm.attacks import Attack, Ball, radius
from renorm.banks import Choice, evaluating
from renorm.extras import require
from renorm.models import Classifier
from renorm.seeds import stable_seed
from renorm.shifts import libraries

STEPS = 20  # of pgd where none are said
FAST, PROJECTED, AUTO, OTHERS = "fgsm", "pgd", "autoattack", "torchattacks"
ATTACKS = (FAST, PROJECTED, AUTO, OTHERS)
FORMS = f"{FAST}, {PROJECTED}:STEPS, {AUTO}, {OTHERS}:NAME"


def is_attack(name: str) -> bool:
    """Whether a shift's name stands for an attack."""
    return name.partition(":")[0] in ATTACKS


@dataclass(frozen=True)
class Threat:
    """What attackers may do, and through which bank.

    Args:
        eps: Radius, in units of 0 to 1, a number or a fraction; by default 8/255, or 0.5 for ``l2``.
        step: Length of a step of ``pgd``; by default a quarter of ``eps``.
        ball: ``linf`` or ``l2``.
        random_start: Whether ``pgd`` starts at random points.
        bank: Name of the bank that is attacked in place of the one evaluated.
        through: That bank.
    """

    eps: float | str | None = None
    step: float | str | None = None
    ball: Ball = "linf"
    random_start: bool = True
    bank: str = ""
    through: Choice | None = None

    def of(self, name: str) -> Adversary:
        """The attack of a shift's name.

        Raises:
            ValueError: For an unknown name, or numbers that cannot be.
            ImportError: If the library that makes it is missing.
        """
        kind, _, what = name.partition(":")
        eps = radius(self.eps, self.ball)
        step = None if self.step is None else radius(self.step, self.ball, "step")
        if kind == PROJECTED and (not what or (what.isdigit() and int(what))):
            steps = int(what or STEPS)
            return Adversary(f"{PROJECTED}:{steps}", Attack(eps, step, steps, self.ball), self)
        if kind == FAST and not what:
            return Adversary(name, Attack(eps, eps, 1, self.ball), self)
        if (kind == AUTO and not what) or (kind == OTHERS and what.isidentifier()):
            library = libraries.torchattacks(what, self.ball) if what else libraries.autoattack()
            return Adversary(name, Attack(eps, ball=self.ball), self, library)
        raise ValueError(f"unknown attack {name!r}: one of {FORMS} is needed. Try {PROJECTED}:{STEPS}.")


@dataclass(frozen=True)
class Adversary:
    """One attack under a threat.

    Args:
        name: Of the shift.
        attack: Radius and ball; of our own attacks all.
        threat: Where it comes from.
        library: Makes the attack in another library.
    """

    name: str
    attack: Attack
    threat: Threat
    library: libraries.LibraryAttack | None = None

    @property
    def description(self) -> str:
        """How images are attacked, in words."""
        radius, _, step = str(self.attack).partition(",")
        if self.library is not None:
            package = self.name.partition(":")[0]
            how = f"{radius}, {package} {getattr(require(package), '__version__', '')}".rstrip()
        elif self.name == FAST:
            how = radius
        else:
            start = "random start" if self.threat.random_start else "started at the image"
            how = f"{radius},{step}, {self.attack.steps} steps, {start}"
        return f"{how}, against {self.threat.bank or 'the bank evaluated'}"

    def __call__(
        self, classifier: Classifier, choice: Choice, pixels: Tensor, labels: Tensor, seeds: Sequence[int]
    ) -> Tensor:
        """The images that an attacker makes of given ones, on the model's device, in [0, 1] and not rounded.

        Shape:
            uint8 or in [0, 1] ``(N, 3, H, W)``, kept.

        Args:
            classifier: The model.
            choice: The bank that is evaluated; it is attacked unless the threat names another.
            pixels: The images.
            labels: Their classes.
            seeds: One for each image.
        """
        x, labels = pixels.to(classifier.device), labels.to(classifier.device)
        x = x.float() / 255 if x.dtype == torch.uint8 else x
        with evaluating(classifier.model), (self.threat.through or choice).used(classifier.model):
            if self.library is not None:
                return self.library(self.attack, classifier, x, labels, seeds[0] % 2**31)
            random = seeds if self.threat.random_start and self.name != FAST else None
            return self.attack(classifier.model, x, labels, random=random, normalize=classifier.normalize)


def seeds_of(seed: int, indices: Tensor) -> list[int]:
    """A seed for each image, by its index, as random starts need them."""
    return [stable_seed(seed, "attack", index) for index in indices.tolist()]
