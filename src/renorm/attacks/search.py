"""The search for a worse image near an image, by projected steps; nothing of models."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from renorm.attacks.ball import TINY, Ball, lengths, project


def search(
    loss: Callable[[Tensor], Tensor],
    images: Tensor,
    start: Tensor,
    *,
    eps: float,
    step: float,
    steps: int,
    ball: Ball = "linf",
) -> Tensor:
    r"""Raise a loss by projected steps of equal length.

    .. math:: x_{t+1} = \Pi\left(x_t + \alpha\, u(\nabla_{x_t} \ell)\right)

    where :math:`u` is the sign (``linf``) or the gradient over its length (``l2``), and :math:`\Pi` projects onto the images
    in [0, 1] no further than ``eps`` from the first ones.

    Shape:
        ``(N, *)``, kept.

    Args:
        loss: What to raise, a scalar, a sum over images.
        images: Centres of the balls.
        start: Where to begin.
        eps: Radius, in units of 0 to 1.
        step: Length of a step.
        steps: How many.
        ball: ``linf`` or ``l2``, as of :class:`Attack`.

    Raises:
        FloatingPointError: If a gradient is not finite; found out at the end, as asking waits for the device.
    """
    here, finite = start, torch.tensor(True, device=images.device)
    for _ in range(steps):
        here = here.detach().requires_grad_()
        (gradient,) = torch.autograd.grad(loss(here), here)
        finite = finite & gradient.isfinite().all()
        here = project(here.detach() + step * steepest(gradient, ball), images, eps, ball)
    if not finite:  # the sign of NaN is 0, so such an attack would do nothing
        raise FloatingPointError(
            "the gradient of an attack is not finite: the model's outputs must be finite numbers near the images. Check the "
            "weights and the input normalization, or compute in float32."
        )
    return here.detach()


def steepest(gradient: Tensor, ball: Ball) -> Tensor:
    """The direction of length 1 in which a loss rises most, for each image; 0 where the gradient is 0."""
    return gradient.sign() if ball == "linf" else gradient / lengths(gradient).clamp_min(TINY)
