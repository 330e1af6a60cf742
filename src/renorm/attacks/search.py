"""The search for a worse image near an image: gradients, steps, projections and random starts; nothing of models."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal, get_args

import torch
from torch import Tensor

Ball = Literal["linf", "l2"]
Random = torch.Generator | Sequence[int]
"""Where random numbers come from: a generator for the batch, or a seed for each image, which no batching changes."""

TINY = 1e-12  # a gradient of this length points nowhere


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


def project(moved: Tensor, images: Tensor, eps: float, ball: Ball) -> Tensor:
    """The nearest points no further than ``eps`` from the images, then in [0, 1], which is no further away."""
    change = moved - images
    near = change.clamp(-eps, eps) if ball == "linf" else change * (eps / lengths(change).clamp_min(TINY)).clamp_max(1)
    return (images + near).clamp(0, 1)


def in_ball(images: Tensor, eps: float, ball: Ball, random: Random) -> Tensor:
    """Points drawn evenly from the balls around images, cut to [0, 1]."""
    if ball == "linf":
        noise = eps * (2 * uniform(images, random) - 1)
    else:
        towards = normal(images, random)
        radius = uniform(images[:, :1].flatten(1)[:, :1], random) ** (1 / images[0].numel())
        noise = eps * radius.view(-1, *[1] * (images.ndim - 1)) * towards / lengths(towards).clamp_min(TINY)
    return (images + noise).clamp(0, 1)


def uniform(like: Tensor, random: Random) -> Tensor:
    """Numbers from 0 to 1, of a tensor's shape, type, device and memory format."""
    return _drawn(like, random, torch.rand)


def normal(like: Tensor, random: Random) -> Tensor:
    """Numbers of mean 0 and variance 1, likewise."""
    return _drawn(like, random, torch.randn)


def _drawn(like: Tensor, random: Random, draw: Callable[..., Tensor]) -> Tensor:
    if isinstance(random, torch.Generator):
        numbers = draw(like.shape, generator=random, device=random.device, dtype=like.dtype)
    else:  # on the CPU, so that a seed means the same on every device
        kind = draw.__name__
        each = [draw(like.shape[1:], generator=torch.Generator().manual_seed(_of(seed, kind))) for seed in random]
        numbers = torch.stack(each).to(like.dtype) if each else torch.empty(like.shape)
    return torch.empty_like(like).copy_(numbers)


def _of(seed: int, kind: str) -> int:
    """Directions and radii of one image do not share their random numbers."""
    return int(seed) if kind == "rand" else int(seed) ^ 0x5DEECE66D


def lengths(x: Tensor) -> Tensor:
    """Euclidean length of each image, ``(N, 1, ..., 1)``."""
    return torch.linalg.vector_norm(x, dim=tuple(range(1, x.ndim)), keepdim=True)


def check_ball(ball: str) -> None:
    """Refuse an unknown ball.

    Raises:
        ValueError: If it is not one.
    """
    if ball not in get_args(Ball):
        raise ValueError(
            f"ball={ball!r} was given. An attack is bounded by one of {list(get_args(Ball))}. Choose 'linf' for the largest "
            f"change of a value, 'l2' for the length of the whole change."
        )
