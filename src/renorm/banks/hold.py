"""One thread at a time measures a model or changes its statistics."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

from torch import nn

from renorm.banks.sites import unwrap


class Hold(NamedTuple):
    """Which thread holds a module, how many blocks deep, and what it lets nobody nest into."""

    thread: int
    depth: int
    closed: str


_HOLDS: dict[int, Hold] = {}  # by a module's id
_GUARD = threading.Lock()


@contextmanager
def exclusive(model: nn.Module, closed: str = "") -> Iterator[None]:
    """Hold a model and all modules in it for this thread, which may hold them again; another one that does is refused.

    Nothing is written into the model, and nobody waits: what one thread measures while another changes it has no meaning.

    Args:
        closed: the name of a block in which this thread may not hold the model again either.

    Raises:
        RuntimeError: another thread holds the model, a part of it, or what it is a part of; or a closed block is open.
    """
    modules, me = list(unwrap(model).modules()), threading.get_ident()  # the list keeps the ids from being given away
    with _GUARD:
        for module in modules:
            _check(modules[0], _HOLDS.get(id(module), Hold(me, 0, "")), me)
        for module in modules:
            hold = _HOLDS.get(id(module), Hold(me, 0, ""))
            _HOLDS[id(module)] = Hold(me, hold.depth + 1, closed)
    try:
        yield
    finally:
        with _GUARD:
            for module in modules:
                hold = _HOLDS.pop(id(module))
                if hold.depth > 1:
                    _HOLDS[id(module)] = Hold(me, hold.depth - 1, "" if closed else hold.closed)


def _check(model: nn.Module, hold: Hold, me: int) -> None:
    if hold.thread != me:
        raise RuntimeError(
            f"another thread is measuring this {type(model).__name__} or has changed its statistics for a while. Two at "
            f"once would mix their numbers. Do one after the other, or give each thread a copy by copy.deepcopy."
        )
    if hold.closed:
        raise RuntimeError(
            f"this {type(model).__name__} is inside {hold.closed}, where sites see batches that are normalized already. Its "
            f"statistics can be neither measured nor changed there. Do that before the block, or after it."
        )
