"""TRADES: accuracy on images, and agreement between each image and the worst one near it."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from renorm.attacks.attack import EPS, Attack, checked, checked_random, wide
from renorm.attacks.ball import Ball, Random, normal
from renorm.attacks.logits import Logits, Normalize, logits_of

BETA = 6.0  # Zhang et al., 2019, CIFAR-10
STEPS = 10
SPREAD = 1e-3  # of the first step's start: at the image itself the divergence has no gradient


def divergence(logits: Tensor, reference: Tensor) -> Tensor:
    r"""Kullback-Leibler divergence of each prediction from a reference's.

    .. math:: \sum_c p_c \log \frac{p_c}{q_c}, \qquad p = \operatorname{softmax}(r), \quad q = \operatorname{softmax}(z)

    Shape:
        logits z and reference r ``(N, C)`` to ``(N,)``.
    """
    return F.kl_div(logits.log_softmax(1), reference.log_softmax(1), reduction="none", log_target=True).sum(1)


def trades_loss(logits: Tensor, adversarial: Tensor, target: Tensor, beta: float = BETA) -> Tensor:
    r"""The loss of TRADES: cross-entropy on images, plus how far predictions near them differ.

    .. math:: \frac1N \sum_n \ell(z_n, y_n) + \beta\, \mathrm{KL}\left(\operatorname{softmax} z_n \,\|\,
        \operatorname{softmax} z'_n\right)

    Gradients flow through both predictions, as published.

    Shape:
        logits z and adversarial z' ``(N, C)``, target ``(N,)`` int64, to a scalar.

    Args:
        logits: Of the images.
        adversarial: Of what :func:`trades` found near them.
        target: Classes.
        beta: Weight of the agreement.

    Reference: Zhang, Yu, Jiao, Xing, El Ghaoui & Jordan, *Theoretically principled trade-off between robustness and accuracy*,
    ICML 2019.

    Example:
        >>> z = torch.tensor([[1.0, 0.0]])
        >>> bool(trades_loss(z, z, torch.tensor([0])) == F.cross_entropy(z, torch.tensor([0])))
        True
    """
    return F.cross_entropy(logits, target) + beta * divergence(adversarial, logits).mean()


def trades(
    model: nn.Module,
    images: Tensor,
    *,
    random: Random,
    eps: float = EPS,
    step: float | None = None,
    steps: int = STEPS,
    ball: Ball = "linf",
    branch: str | None = None,
    reference: str | None = None,
    normalize: Normalize | None = None,
) -> Tensor:
    """Images near the given ones whose predictions differ most from theirs, by projected steps. No labels are needed.

    It begins at the image plus normal noise of 0.001, where the divergence has a gradient, and leaves the model as
    :func:`renorm.attacks.pgd` does.

    Shape:
        images ``(N, *)`` in [0, 1], kept, with their type and memory format.

    Args:
        random: Of the noise: a generator, or a seed for each image.
        eps, step, steps, ball: As of :func:`renorm.attacks.pgd`; by default 10 steps.
        branch: Through which branch the images are attacked; by default the open route, else the only one.
        reference: Through which branch the images' own predictions are made; by default the same.
        normalize: From [0, 1] to the model's input.

    Raises:
        ValueError: Images outside [0, 1], an unknown branch, or none where there are several.

    Reference: Zhang et al., as of :func:`trades_loss`.

    Example:
        >>> model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(12, 3))
        >>> trades(model, torch.rand(2, 3, 2, 2), random=[0, 1]).shape
        torch.Size([2, 3, 2, 2])
    """
    attack = Attack(eps, step, steps, ball)
    return search_apart(attack, model, images, random=random, branch=branch, reference=reference, normalize=normalize)


def search_apart(
    attack: Attack,
    model: nn.Module,
    images: Tensor,
    *,
    random: Random,
    branch: str | None = None,
    reference: str | None = None,
    normalize: Normalize | None = None,
) -> Tensor:
    """:func:`trades` for the settings of an attack, which is one in evaluation mode as published."""
    images = checked(images)
    with logits_of(model, reference or branch, normalize, "eval") as logits, torch.no_grad():
        own = logits(images)

    def loss(logits: Logits) -> Callable[[Tensor], Tensor]:
        return lambda x: divergence(logits(x.to(images.dtype)), own).sum()

    centre = wide(images)
    start = (centre + SPREAD * normal(centre, checked_random(random, images))).clamp(0, 1)
    return attack.run(model, images, start, loss, branch, normalize)
