"""One batch of several views."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import torch
from torch import Tensor


class Stacked(NamedTuple):
    """One batch made of several views, and the argument by which :func:`route` finds them again."""

    x: Tensor
    route: tuple[str, ...] | dict[str, int]


def interleave(*views: Tensor) -> Tensor:
    """Views of equal shape as one batch in which sample i belongs to view i mod K. Shape: K of ``(N, *)`` to ``(K*N, *)``."""
    if len({view.shape for view in views}) != 1:
        shapes = [tuple(view.shape) for view in views]
        raise ValueError(
            f"views of shapes {shapes} were given. Interleaving needs equal shapes. Stack them as blocks instead."
        )
    return torch.stack(views, 1).flatten(0, 1)


def stack(views: Mapping[str, Tensor], memory_format: torch.memory_format = torch.contiguous_format) -> Stacked:
    """Views by branch as one batch in the order that is fastest to normalize, and its route.

    Contiguous views of equal size are interleaved (the batch seen as ``(N, K*C, *)`` is one native kernel); in
    channels_last, or where sizes differ, they are consecutive blocks (each a free slice).

    Example:
        >>> x, spec = renorm.stack({"weak": torch.zeros(2, 3), "strong": torch.ones(2, 3)})
        >>> spec, x[:, 0]
        (('weak', 'strong'), tensor([0., 1., 0., 1.]))
    """
    if not views:
        raise ValueError("no view was given. A batch needs at least one branch. Pass {'weak': x, ...}.")
    tensors = list(views.values())
    if memory_format == torch.contiguous_format and len({t.shape for t in tensors}) == 1:
        return Stacked(interleave(*tensors), tuple(views))
    x = torch.cat(tensors)
    if memory_format != torch.contiguous_format:
        x = x.contiguous(memory_format=memory_format)
    return Stacked(x, {name: len(t) for name, t in views.items()})


def unstack(y: Tensor, route: tuple[str, ...] | Mapping[str, int]) -> dict[str, Tensor]:
    """The parts of :func:`stack`'s batch, or of what a model made of it, by branch."""
    if isinstance(route, Mapping):
        return dict(zip(route, y.split(list(route.values())), strict=True))
    return dict(zip(route, y.unflatten(0, (-1, len(route))).unbind(1), strict=True))
