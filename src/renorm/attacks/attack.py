"""Attacks on images: the fast gradient sign method and projected gradient descent."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from numbers import Integral, Real
from typing import get_args

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from renorm.attacks.ball import Ball, Random, check_ball, in_ball
from renorm.attacks.logits import Logits, Mode, Normalize, logits_of
from renorm.attacks.search import search

EPS, STEPS = 8 / 255, 7  # Madry et al., 2018, CIFAR-10, training
QUARTER = 4  # a step is this part of eps, unless said: 2/255 of 8/255


@dataclass(frozen=True)
class Attack:
    """How an attack searches: a value that recipes and tables hold.

    Args:
        eps: Radius of the ball around each image, in units of 0 to 1.
        step: Length of a step; by default a quarter of ``eps``.
        steps: How many.
        ball: What bounds the change: ``linf`` bounds the change of each value, ``l2`` the length of the whole change.
        targeted: Whether to move towards the given labels, not away from them.
        mode: ``eval`` attacks the model as it predicts, with the branch's running statistics, and changes nothing of it.
            ``train`` leaves it in training mode, as the authors of sandwich batch norm do: sites normalize by the attacked
            batch and every step moves the branch's running statistics once (inside :func:`renorm.frozen_statistics`: none).

    Raises:
        TypeError: For a radius, step or number of steps that is no number.
        ValueError: For one that is not positive, a radius of more than all values in [0, 1], an unknown ball or mode.

    Example:
        >>> Attack(steps=20)
        Attack(eps=0.03137254901960784, step=0.00784313725490196, steps=20, ball='linf', targeted=False, mode='eval')
    """

    eps: float = EPS
    step: float | None = None
    steps: int = STEPS
    ball: Ball = "linf"
    targeted: bool = False
    mode: Mode = "eval"

    def __post_init__(self) -> None:
        check_ball(self.ball)
        for name, kind, needed in (
            ("eps", Real, "a radius above 0, which for linf is at most 1"),
            ("step", Real, "a length above 0"),
            ("steps", Integral, "1 step or more"),
        ):
            given = getattr(self, name)
            if name == "step" and given is None:
                object.__setattr__(self, name, given := self.eps / QUARTER)
            usual = "Use the published eps=8/255, step=2/255, steps=7 (numbers, without quotes), or leave it out."
            if not isinstance(given, kind) or isinstance(given, bool):
                raise TypeError(f"{name}={given!r} was given. An attack needs {needed}. {usual}")
            if not 0 < float(given) < math.inf or (name == "eps" and self.ball == "linf" and float(given) > 1):
                raise ValueError(f"{name}={given} was given. An attack needs {needed}. {usual}")
        if self.mode not in get_args(Mode):
            raise ValueError(
                f"mode={self.mode!r} was given. The attacked model is in one of the modes {list(get_args(Mode))}. Use 'eval', "
                f"which changes nothing of the model."
            )

    def __call__(
        self,
        model: nn.Module,
        images: Tensor,
        target: Tensor,
        *,
        random: Random | None = None,
        branch: str | None = None,
        normalize: Normalize | None = None,
    ) -> Tensor:
        """Attack images, as :func:`pgd` does."""
        sign = -1 if self.targeted else 1
        images, target = checked(images), _checked_target(target, images)
        highest = int(target.max()) if len(target) else -1

        def loss(logits: Logits) -> Callable[[Tensor], Tensor]:
            def raised(x: Tensor) -> Tensor:
                found = logits(x.to(images.dtype))
                _check_classes(found, highest)
                return sign * F.cross_entropy(found, target, reduction="sum")

            return raised

        centre = wide(images)
        start = centre if random is None else in_ball(centre, self.eps, self.ball, checked_random(random, images))
        return self.run(model, images, start, loss, branch, normalize)

    def run(
        self,
        model: nn.Module,
        images: Tensor,
        start: Tensor,
        loss: Callable[[Logits], Callable[[Tensor], Tensor]],
        branch: str | None,
        normalize: Normalize | None,
    ) -> Tensor:
        """Search from a start for images that raise a loss, which is made of the model's logits.

        Raises:
            ValueError: If the published train mode is asked of a model in evaluation mode.
        """
        assert self.step is not None
        if self.mode == "train" and not model.training:
            raise ValueError(
                "mode='train' was given for a model in evaluation mode. That attack runs as training does. "
                "Call model.train() first, or use mode='eval'."
            )
        if not len(images):
            return images.detach().clone()
        with logits_of(model, branch, normalize, self.mode) as logits:
            settings = {"eps": self.eps, "step": self.step, "steps": self.steps, "ball": self.ball}
            found = search(loss(logits), wide(images).clone(), start.clone(), **settings)
        return found.to(images.dtype)

    def __str__(self) -> str:
        radius = f"{255 * self.eps:g}/255" if self.ball == "linf" else f"{self.eps:g}"
        step = f"{255 * (self.step or 0):g}/255" if self.ball == "linf" else f"{self.step:g}"
        return f"{self.ball} {radius}, step {step}"


def pgd(
    model: nn.Module,
    images: Tensor,
    target: Tensor,
    *,
    eps: float = EPS,
    step: float | None = None,
    steps: int = STEPS,
    ball: Ball = "linf",
    random: Random | None = None,
    targeted: bool = False,
    branch: str | None = None,
    normalize: Normalize | None = None,
    mode: Mode = "eval",
) -> Tensor:
    r"""Projected gradient descent: images near the given ones that a model gets wrong.

    .. math:: x_{t+1} = \Pi_{B(x, \epsilon) \cap [0, 1]} \left(x_t + \alpha\,
        \operatorname{sign} \nabla_{x_t} L(f(x_t), y)\right)

    and the gradient over its length in place of its sign for ``ball="l2"``. The steps are computed in at least float32, and
    the result is rounded to the images' type.

    The model, in whatever mode and however wrapped or compiled, is as before afterwards: gradients, ``requires_grad``, modes,
    buffers, routes. What is returned belongs to no graph. Under autocast the attack computes as the block does.

    Shape:
        images ``(N, *)`` in [0, 1], kept, with their type and memory format; target ``(N,)`` int64.

    Reduces to: :func:`fgsm` for one step of length ``eps`` without a random start.

    Args:
        eps: Radius, in units of 0 to 1.
        step: Length of a step; by default a quarter of ``eps``, 2/255 of 8/255.
        steps: How many.
        ball: ``linf`` or ``l2``, as of :class:`Attack`.
        random: Starts at random points of the balls: a generator, or a seed for each image; at the images by default.
        targeted: Whether to move towards the labels.
        branch: Through which branch; by default the open route, else the only one.
        normalize: From [0, 1] to the model's input; leave it out for a model that normalizes by itself.
        mode: ``eval``, or ``train`` as published with sandwich batch norm; see :class:`Attack`.

    Raises:
        ValueError: Images outside [0, 1], labels of another number or of no class, an unknown branch, or none where there are
            several; a radius or step that is not positive.
        TypeError: Images that are not floating point, labels that are not int64, settings or outputs of another kind.
        FloatingPointError: A gradient that is not finite.

    Reference: Madry, Makelov, Schmidt, Tsipras & Vladu, *Towards deep learning models resistant to adversarial attacks*,
    ICLR 2018.

    Example:
        >>> model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(12, 3))
        >>> images, labels = torch.rand(2, 3, 2, 2), torch.tensor([0, 2])
        >>> found = pgd(model, images, labels, random=[0, 1])
        >>> float((found - images).abs().max()) <= 8 / 255 + 1e-6
        True
    """
    attack = Attack(eps, step, steps, ball, targeted, mode)
    return attack(model, images, target, random=random, branch=branch, normalize=normalize)


def fgsm(
    model: nn.Module,
    images: Tensor,
    target: Tensor,
    *,
    eps: float = EPS,
    ball: Ball = "linf",
    targeted: bool = False,
    branch: str | None = None,
    normalize: Normalize | None = None,
    mode: Mode = "eval",
) -> Tensor:
    r"""The fast gradient sign method: one step to the border of the ball.

    .. math:: x' = \Pi_{[0, 1]} \left(x + \epsilon \operatorname{sign} \nabla_x L(f(x), y)\right)

    Shape and arguments: as of :func:`pgd`.

    Reference: Goodfellow, Shlens & Szegedy, *Explaining and harnessing adversarial examples*, ICLR 2015.

    Example:
        >>> model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(12, 3))
        >>> fgsm(model, torch.rand(2, 3, 2, 2), torch.tensor([0, 2])).shape
        torch.Size([2, 3, 2, 2])
    """
    attack = Attack(eps, eps, 1, ball, targeted, mode)
    return attack(model, images, target, branch=branch, normalize=normalize)


def wide(images: Tensor) -> Tensor:
    """Images in a type whose rounding is far below a step."""
    return images.float() if images.dtype in (torch.float16, torch.bfloat16) else images


def checked(images: Tensor) -> Tensor:
    """Images that can be attacked, outside any graph.

    Raises:
        TypeError: If they are not floating point.
        ValueError: If they are not in [0, 1], or not a batch.
    """
    if not isinstance(images, Tensor) or not images.is_floating_point():
        kind = images.dtype if isinstance(images, Tensor) else type(images).__name__
        raise TypeError(
            f"images of type {kind} were given. An attack moves floating-point images in [0, 1]. Divide bytes by 255."
        )
    if images.ndim < 2:
        raise ValueError(f"images of shape {tuple(images.shape)} were given. A batch (N, ...) is needed. Stack them.")
    low, high = (float(edge) for edge in images.detach().aminmax()) if images.numel() else (0.0, 1.0)
    if math.isnan(low) or math.isnan(high):
        raise ValueError(
            "images with NaN were given. An attack needs finite numbers in [0, 1]. Drop or repair such images."
        )
    if not (low >= 0 and high <= 1):
        raise ValueError(
            f"images between {low:.3g} and {high:.3g} were given. Images are attacked in [0, 1], before normalization. Pass "
            f"them unnormalized, and normalize= that the model's input needs."
        )
    with torch.inference_mode(False):
        return images.detach().clone()


def _checked_target(target: Tensor, images: Tensor) -> Tensor:
    if not isinstance(target, Tensor) or target.dtype != torch.int64:
        kind = target.dtype if isinstance(target, Tensor) else type(target).__name__
        raise TypeError(f"labels of type {kind} were given. An attack needs (N,) int64. Convert them by .long().")
    if target.shape != images.shape[:1]:
        raise ValueError(
            f"labels of shape {tuple(target.shape)} were given for {len(images)} images. Each image needs one. Pass (N,) labels."
        )
    if len(target) and int(target.min()) < 0:
        raise ValueError(
            f"labels down to {int(target.min())} were given. An attack needs a class for each image, 0 or more; -100 would be "
            f"ignored, and its image not attacked. Leave such images out."
        )
    with torch.inference_mode(False):
        return target.to(images.device, copy=True)


def _check_classes(logits: Tensor, highest: int) -> None:
    if logits.ndim != 2 or highest >= logits.shape[1]:
        raise ValueError(
            f"labels up to {highest} were given for outputs of shape {tuple(logits.shape)}. An attack needs logits (N, C) and "
            f"labels below C. Give the labels of this model's classes."
        )


def checked_random(random: Random, images: Tensor) -> Random:
    if isinstance(random, torch.Generator):
        return random
    if not isinstance(random, Sequence) or not all(isinstance(seed, Integral) and 0 <= seed < 2**63 for seed in random):
        raise TypeError(
            f"random={random!r} was given. Random starts need a torch.Generator, or a whole number from 0 for each image. "
            f"Use range(len(images)), for example."
        )
    if len(random) != len(images):
        raise ValueError(
            f"{len(random)} seeds were given for {len(images)} images. Random starts need one seed for each image, or a "
            f"torch.Generator. Pass as many."
        )
    return random
