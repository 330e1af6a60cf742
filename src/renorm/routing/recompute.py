"""Which forward it is that activation checkpointing runs again.

A checkpointed forward keeps no activations; its backward runs it once more, perhaps when another route is open. PyTorch does
not say which forward it repeats, but autograd numbers its nodes in the order in which forwards made them, and a rerun begins
in the backward of a node of its forward. So what was followed is kept with the number that was next at the time.
"""

from __future__ import annotations

import threading
from collections import deque
from dataclasses import dataclass
from itertools import islice
from typing import Generic, NamedTuple, TypeVar

import torch

T = TypeVar("T")
KEPT = 64  # spans; of older forwards, whose backward is still to come, nothing is guessed


def rerun() -> bool:
    """Whether this forward is run by a backward."""
    return not torch.compiler.is_compiling() and torch._C._current_graph_task_id() != -1


@dataclass
class Span(Generic[T]):
    """Layers that followed the same one after the other, with the numbers that were next at the first and the last of them."""

    state: T
    grad: bool  # whether they made nodes; a reentrant checkpoint first runs without
    first: int
    last: int


class Outer(NamedTuple, Generic[T]):
    """The newest reentrant rerun, which calls a backward of its own on what it makes."""

    task: int
    state: T


class Forwards(Generic[T]):
    """What forwards followed, for those of them that are run again."""

    def __init__(self) -> None:
        self._spans: deque[Span[T]] = deque(maxlen=KEPT)
        self._lost = -1  # the last number of the spans that were dropped
        self._outer: Outer[T] | None = None
        self._thread = 0

    def remember(self, state: T) -> None:
        """A layer follows this now."""
        self._outer, self._thread = None, threading.get_ident()
        number, grad = torch.autograd._get_sequence_nr(), torch.is_grad_enabled()  # pyright: ignore[reportPrivateImportUsage]
        if self._spans and self._spans[-1].state == state and self._spans[-1].grad == grad:
            self._spans[-1].last = number
        else:
            self._lost = self._spans[0].last if len(self._spans) == KEPT else self._lost
            self._spans.append(Span(state, grad, number, number))

    def recall(self, who: str) -> T:
        """What the forward that runs again followed the first time.

        Raises:
            RuntimeError: that is not certain.
        """
        found = self._found()
        if len(found) != 1:
            raise RuntimeError(
                f"{who} is recomputed by activation checkpointing, and it is not certain which forward that repeats. A "
                f"recomputation follows what its forward did. Call backward inside the `with` of each forward, before the next."
            )
        return found[0]

    def _found(self) -> list[T]:
        """The one state that it can have been, or several, or none."""
        node = torch._C._current_autograd_node()
        if node is None or not self._spans:
            return []
        number, function = node._sequence_nr(), getattr(node, "_forward_cls", None)
        if function is None or function.__module__.startswith("renorm."):
            return self._before(number)
        if function.__name__ == "CheckpointFunction":
            return self._reentrant(number)
        return _distinct(
            self._before(number) + self._after(number)
        )  # it unpacks its tensors, or is another's checkpoint

    def _reentrant(self, number: int) -> list[T]:
        """The state for a node of a reentrant checkpoint, which may itself have been made by a rerun."""
        task, outer = torch._C._current_graph_task_id(), self._outer
        if number > self._spans[-1].last:  # no forward has made it
            return [] if outer is None else [outer.state]
        found = self._after(number)
        if outer is not None and outer.task != task and self._thread != threading.get_ident():
            return _distinct(
                [*found, outer.state]
            )  # threads number their nodes apart, so a rerun may have made this one
        self._outer = Outer(task, found[0]) if found else None
        return found

    def _before(self, number: int) -> list[T]:
        """What the last layer followed before it or another made the node."""
        return [span.state for span in self._spans if span.grad and span.first <= number][-1:]

    def _after(self, number: int) -> list[T]:
        """What the first layer followed after the node was made, which stands for layers that made none."""
        later = (span.state for span in self._spans if not span.grad and span.last > number)
        return [] if number < self._lost else list(islice(later, 1))


def _distinct(states: list[T]) -> list[T]:
    return [state for i, state in enumerate(states) if state not in states[:i]]
