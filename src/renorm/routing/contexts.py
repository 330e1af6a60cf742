"""Saying which branch each sample belongs to: for a block, or for good."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import NamedTuple

import torch
from torch import nn
from torch.utils.hooks import RemovableHandle

from renorm.routing.folding import said
from renorm.routing.route import Route, routes_of
from renorm.routing.selection import Selection
from renorm.routing.spec import Spec, read


def _device_of(model: nn.Module) -> torch.device | None:
    return next((p.device for p in model.parameters()), None)


@contextmanager
def route(
    model: nn.Module, *spec: Spec, folded: str | None = None, size: int | None = None, check: bool = True
) -> Iterator[None]:
    """Route the forwards of the block: say which branch each sample of the batch belongs to.

    - ``route(model, "weak")``: the whole batch.
    - ``route(model, "weak", "strong")``: interleaved, sample i belongs to branch i mod 2 of those named, in their order.
    - ``route(model, {"weak": 96, "strong": 32})``: consecutive blocks, uneven or empty.
    - ``route(model, labels)``: ``(N,)`` int64, the branch index of each sample in the order of the model's branches; or one
      label for all, a tensor ``()``.

    Where sites have something for samples of no branch, as a sandwich has its shared affine, these are called ``"unknown"`` and
    their label is -1.

    Forwards that activation checkpointing runs again follow the route they had, whichever is open then.

    A batch is what the outermost call of the model is given first. Where that is no tensor (a list, a dict) or another method
    is called, interleaving and labels need ``size``. A site that sees several rows for each sample, time or patches folded into
    the batch, needs ``folded``, except where one branch is the whole batch.

    Args:
        folded: the order of these rows: ``"sample"`` (row t of sample b is b * m + t), ``"time"`` or ``"copies"`` (t * N + b).
        size: how many samples a batch has.
        check: validate labels on entering, which waits for the device; out-of-range labels go unnoticed otherwise.

    Raises:
        ValueError: a model without branches, an unknown branch, one named twice, labels out of range; in a forward, rows that are
            neither samples nor folded as said, a batch of another size or of an unknown one.
        TypeError: anything else than the four forms.

    Example:
        >>> model = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 1), torch.nn.BatchNorm2d(4))
        >>> _ = renorm.split_(model, ["weak", "strong"])
        >>> with renorm.route(model, "weak", "strong"):
        ...     y = model(torch.randn(6, 3, 5, 5))
    """
    device, root = _device_of(model), _uncompiled(model)
    opened = [(each, said(read(spec, each, device, check), folded, size)) for each in routes_of(model)]
    before = [(each, each.open, each.batch, each.outermost) for each, _ in opened]
    handles = [handle for each, _ in opened for handle in each.watch(root)]
    try:
        for each, selection in opened:
            each.open, each.batch, each.outermost = selection, None, None
        yield
    finally:
        for each, selection, batch, outermost in before:
            each.open, each.batch, each.outermost = selection, batch, outermost
        for handle in handles:
            handle.remove()


@contextmanager
def through(model: nn.Module, branch: str) -> Iterator[None]:
    """Every forward of the block goes through one branch; sites that the model itself gives other labels refuse it.

    Raises:
        ValueError: as :func:`route`; in a forward, labels given by hand that are not all of the branch.
    """
    with route(model, branch), ExitStack() as stack:
        for each in routes_of(model):
            stack.enter_context(_demanded(each, each.row(branch)))
        yield


@contextmanager
def _demanded(each: Route, row: int) -> Iterator[None]:
    before, each.demanded = each.demanded, row
    try:
        yield
    finally:
        each.demanded = before


def _uncompiled(model: nn.Module) -> nn.Module:
    return getattr(model, "_orig_mod", model)


class Before(NamedTuple):
    """A route as it was before a lasting one, and the hooks that this one needs."""

    route: Route
    sticky: dict[bool, Selection | None]
    handles: list[RemovableHandle]


class Lasting:
    """What :func:`route_` set; ``undo()`` puts the former routes back."""

    def __init__(self, former: list[Before], text: str) -> None:
        self._former, self._text = former, text

    def undo(self) -> None:
        """Put the former lasting routes back."""
        for each, sticky, handles in self._former:
            each.sticky = sticky
            for handle in handles:
                handle.remove()

    def __repr__(self) -> str:
        return self._text


def route_(
    model: nn.Module,
    *,
    train: Spec | None = None,
    eval: Spec | None = None,
    folded: str | None = None,
    size: int | None = None,
    check: bool = True,
) -> Lasting:
    """Set a lasting route, for trainers that own the loop: one for training mode, one for evaluation mode.

    A ``with renorm.route(...)`` block has precedence. ``None`` leaves a mode as without a route. Copies of the model keep it.

    Args:
        folded, size, check: as in :func:`route`.

    Example:
        >>> model = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 1), torch.nn.BatchNorm2d(4))
        >>> _ = renorm.split_(model, ["weak", "strong"])
        >>> renorm.route_(model, train=("weak", "strong"), eval="weak")
        training follows ('weak', 'strong'), evaluation 'weak'
    """
    device, root, parsed = _device_of(model), _uncompiled(model), []
    for each in routes_of(model):
        chosen = {
            mode: None if spec is None else said(read((spec,), each, device, check), folded, size)
            for mode, spec in ((True, train), (False, eval))
        }
        parsed.append((each, chosen))
    former = [Before(each, each.sticky, each.watch(root)) for each, _ in parsed]
    for each, chosen in parsed:
        each.sticky = chosen
    return Lasting(former, f"training follows {train!r}, evaluation {eval!r}")
