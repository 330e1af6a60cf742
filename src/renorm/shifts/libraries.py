"""Attacks of other libraries on a model as it is now: AutoAttack, and those of torchattacks that are bounded by a radius."""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from renorm.attacks import Attack, Ball, Logits, lengths, logits_of
from renorm.extras import require
from renorm.models import Classifier

NORMS = {"linf": "Linf", "l2": "L2"}  # as these libraries call them
SOURCE = "git+https://github.com/fra31/auto-attack"  # the authors' code, which no registry has
SLACK = 1e-4  # of rounding, beyond the radius
LibraryAttack = Callable[[Attack, Classifier, Tensor, Tensor, int], Tensor]


class Pictures(nn.Module):
    """The model as a function of images in [0, 1] that others may call, but not change: its only own tensor is empty."""

    def __init__(self, logits: Logits, device: torch.device) -> None:
        super().__init__()
        self.logits, self.place = logits, nn.Parameter(torch.zeros(0, device=device))

    def forward(self, x: Tensor) -> Tensor:
        """Logits. Shape: ``(N, 3, H, W)`` to ``(N, C)``."""
        return self.logits(x).float()


def autoattack() -> LibraryAttack:
    """The standard version of AutoAttack, by its authors' code.

    Raises:
        ImportError: If it is not installed.

    Reference: Croce & Hein, *Reliable evaluation of adversarial robustness with an ensemble of diverse parameter-free attacks*,
    ICML 2020.
    """
    try:
        library = require("autoattack")
    except ImportError as error:
        raise ImportError(
            f"autoattack cannot be used ({error.__cause__}). The shift 'autoattack' needs the authors' code, which no registry "
            f"has. Install it with: pip install {SOURCE}; or use torchattacks:AutoAttack."
        ) from error

    def run(attack: Attack, classifier: Classifier, x: Tensor, labels: Tensor, seed: int) -> Tensor:
        with pictures(classifier, seed) as model:
            settings = {"norm": NORMS[attack.ball], "eps": attack.eps, "version": "standard", "seed": seed}
            made = library.AutoAttack(model, **settings, device=x.device, verbose=False)
            return bounded(made.run_standard_evaluation(x, labels, bs=len(x)).detach(), x, attack)

    return run


def torchattacks(name: str, ball: Ball) -> LibraryAttack:
    """An attack of torchattacks with its own settings, but for the radius, the ball and the seed where it takes them.

    Raises:
        ImportError: If the library is not installed.
        ValueError: If it has no such attack, or one that no ball of this kind bounds.
    """
    library = require("torchattacks")
    kinds = {key: value for key, value in vars(library).items() if inspect.isclass(value) and _takes(value, "eps")}
    if name not in kinds:
        close = difflib.get_close_matches(name, kinds, n=3, cutoff=0.4) or sorted(kinds)[:3]
        raise ValueError(
            f"torchattacks:{name} was given. An attack of torchattacks that takes a radius eps is needed, as accuracy is said "
            f"for one. Try {' or '.join(close)}."
        )
    kind: Any = kinds[name]
    _check_ball(name, kind, ball)

    def run(attack: Attack, classifier: Classifier, x: Tensor, labels: Tensor, seed: int) -> Tensor:
        with pictures(classifier, seed) as model, torch.no_grad():
            given = {"eps": attack.eps, "norm": NORMS[attack.ball], "seed": seed, "n_classes": model(x[:1]).shape[1]}
            made = kind(model, **{key: value for key, value in given.items() if _takes(kind, key)})
            with torch.enable_grad():
                return bounded(made(x, labels).detach(), x, attack)

    return run


@contextmanager
def pictures(classifier: Classifier, seed: int) -> Iterator[nn.Module]:
    """The model as it is now, and random numbers of the block's own."""
    devices = [classifier.device] if classifier.device.type == "cuda" else []
    with logits_of(classifier.model, None, classifier.normalize, "eval") as logits, torch.random.fork_rng(devices):
        torch.manual_seed(seed)
        yield Pictures(logits, classifier.device).eval()


def bounded(attacked: Tensor, images: Tensor, attack: Attack) -> Tensor:
    """What a library made, if it is near enough to the images.

    Raises:
        ValueError: If it is not.
    """
    change = attacked - images
    furthest = float((change.abs() if attack.ball == "linf" else lengths(change)).amax())
    if not furthest <= attack.eps + SLACK:
        raise ValueError(
            f"an attack of another library moved an image by {furthest:.4g} in {attack.ball}: at most eps {attack.eps:.4g} is "
            f"needed. Choose an attack that is bounded in this ball."
        )
    return attacked


def _takes(kind: Any, name: str) -> bool:
    return name in inspect.signature(kind.__init__).parameters


def _check_ball(name: str, kind: Any, ball: Ball) -> None:
    bound = "l2" if name.endswith("L2") else "linf"
    if not _takes(kind, "norm") and ball != bound:
        raise ValueError(
            f"torchattacks:{name} was given for the ball {ball}: it is bounded in {bound} only. Use --attack-ball {bound}, or an "
            f"attack of the ball wanted."
        )
