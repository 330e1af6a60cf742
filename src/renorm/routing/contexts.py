"""Saying which branch each sample belongs to: for a block, or for good."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import torch
from torch import nn

from renorm.routing.route import Route, routes_of
from renorm.routing.selection import Selection
from renorm.routing.spec import Spec, read


def _device_of(model: nn.Module) -> torch.device | None:
    return next((p.device for p in model.parameters()), None)


@contextmanager
def route(model: nn.Module, *spec: Spec, check: bool = True) -> Iterator[None]:
    """Route the forwards of the block: say which branch each sample of the batch belongs to.

    - ``route(model, "weak")``: the whole batch.
    - ``route(model, "weak", "strong")``: interleaved, sample i belongs to branch i mod 2 of those named, in their order.
    - ``route(model, {"weak": 96, "strong": 32})``: consecutive blocks, uneven or empty.
    - ``route(model, labels)``: ``(N,)`` int64, the branch index of each sample in the order of the model's branches.

    Where sites have something for samples of no branch, as a sandwich has its shared affine, these are called ``"unknown"`` and
    their label is -1.

    Forwards that activation checkpointing runs again follow the route they had, whichever is open then.

    Args:
        check: validate labels on entering, which waits for the device; out-of-range labels go unnoticed otherwise.

    Raises:
        ValueError: a model without branches, an unknown branch, one named twice, labels out of range.
        TypeError: anything else than the four forms.

    Example:
        >>> model = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 1), torch.nn.BatchNorm2d(4))
        >>> _ = renorm.split_(model, ["weak", "strong"])
        >>> with renorm.route(model, "weak", "strong"):
        ...     y = model(torch.randn(6, 3, 5, 5))
    """
    with ExitStack() as stack:
        device = _device_of(model)
        for each in routes_of(model):
            stack.enter_context(_opened(each, read(spec, each, device, check)))
        yield


@contextmanager
def _opened(each: Route, selection: Selection) -> Iterator[None]:
    before, each.open, each.size = each.open, selection, None
    try:
        yield
    finally:
        each.open, each.size = before, None


class Lasting:
    """What :func:`route_` set; ``undo()`` puts the former routes back."""

    def __init__(self, former: list[tuple[Route, dict[bool, Selection | None]]], text: str) -> None:
        self._former, self._text = former, text

    def undo(self) -> None:
        """Put the former lasting routes back."""
        for each, sticky in self._former:
            each.sticky = sticky

    def __repr__(self) -> str:
        return self._text


def route_(model: nn.Module, *, train: Spec | None = None, eval: Spec | None = None, check: bool = True) -> Lasting:
    """Set a lasting route, for trainers that own the loop: one for training mode, one for evaluation mode.

    A ``with renorm.route(...)`` block has precedence. ``None`` leaves a mode as without a route.

    Example:
        >>> model = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 1), torch.nn.BatchNorm2d(4))
        >>> _ = renorm.split_(model, ["weak", "strong"])
        >>> renorm.route_(model, train=("weak", "strong"), eval="weak")
        training follows ('weak', 'strong'), evaluation 'weak'
    """
    device, former = _device_of(model), []
    parsed = []
    for each in routes_of(model):
        chosen = {
            mode: None if spec is None else read((spec,), each, device, check)
            for mode, spec in ((True, train), (False, eval))
        }
        parsed.append((each, chosen))
    for each, chosen in parsed:
        former.append((each, each.sticky))
        each.sticky = chosen
    return Lasting(former, f"training follows {train!r}, evaluation {eval!r}")
