"""Forwards that activation checkpointing runs again."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

from torch import nn

from renorm.routing.route import Route, routes_of


def checkpoint_contexts(model: nn.Module) -> Callable[[], tuple[AbstractContextManager, AbstractContextManager]]:
    """A ``context_fn`` for ``torch.utils.checkpoint.checkpoint(..., use_reentrant=False)``.

    It reopens, for the recomputation, the route that was open at the forward, wherever ``backward`` is called.
    """

    def contexts() -> tuple[AbstractContextManager, AbstractContextManager]:
        saved = [(each, (each.open, each.size)) for each in routes_of(model) if each.open is not None]
        return nullcontext(), _reopened(saved)

    return contexts


@contextmanager
def untraced(model: nn.Module) -> Iterator[None]:
    """Forwards inside, with their own backward, are forgotten by the recomputation of those outside."""
    saved = [(each, (each._last, each._ambiguous, each._rerun)) for each in routes_of(model)]
    try:
        for each, _ in saved:
            each._last, each._ambiguous, each._rerun = None, False, False
        yield
    finally:
        for each, former in saved:
            each._last, each._ambiguous, each._rerun = former


@contextmanager
def _reopened(saved: list[tuple[Route, tuple[Any, int | None]]]) -> Iterator[None]:
    former = [(each, each._reopened) for each, _ in saved]
    try:
        for each, state in saved:
            each._reopened = state
        yield
    finally:
        for each, state in former:
            each._reopened = state
