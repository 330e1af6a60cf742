"""The ball around an image that an attack stays in: its radius, the nearest points of it, random points of it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from fractions import Fraction
from typing import Literal, get_args

import torch
from torch import Tensor

Ball = Literal["linf", "l2"]
Random = torch.Generator | Sequence[int]
"""Where random numbers come from: a generator for the batch, or a seed for each image, which no batching changes."""

TINY = 1e-12  # a gradient of this length points nowhere
USUAL = {"linf": 8 / 255, "l2": 0.5}  # on CIFAR-10, as in most papers


def radius(given: float | str | None, ball: Ball, name: str = "eps") -> float:
    """A radius in units of 0 to 1, from a number or a fraction; by default the usual one of the ball.

    Raises:
        ValueError: If it is neither.

    Example:
        >>> 255 * radius("8/255", "linf"), radius(None, "l2")
        (8.0, 0.5)
    """
    if given is None:
        return USUAL[ball]
    try:
        return float(Fraction(given))
    except (ValueError, ZeroDivisionError, OverflowError) as error:
        raise ValueError(
            f"{name} {given!r} is no number: a length in units of 0 to 1 is needed, as a number or a fraction. Try 8/255."
        ) from error


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
        length = uniform(images[:, :1].flatten(1)[:, :1], random) ** (1 / images[0].numel())
        noise = eps * length.view(-1, *[1] * (images.ndim - 1)) * towards / lengths(towards).clamp_min(TINY)
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
