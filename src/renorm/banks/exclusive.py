"""One thread at a time measures a model or changes its statistics."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from torch import nn

from renorm.banks.sites import unwrap

_HOLDERS: dict[int, tuple[int, int]] = {}  # by a module's id: which thread holds it, and how many blocks deep
_GUARD = threading.Lock()


@contextmanager
def exclusive(model: nn.Module) -> Iterator[None]:
    """Hold a model and all modules in it for this thread, which may hold them again; another one that does is refused.

    Nothing is written into the model, and nobody waits: what one thread measures while another changes it has no meaning.

    Raises:
        RuntimeError: another thread holds the model, a part of it, or what it is a part of.
    """
    modules, me = list(unwrap(model).modules()), threading.get_ident()  # the list keeps the ids from being given away
    with _GUARD:
        if any(_HOLDERS.get(id(module), (me, 0))[0] != me for module in modules):
            raise RuntimeError(
                f"another thread is measuring this {type(modules[0]).__name__} or has changed its statistics for a while. Two at "
                f"once would mix their numbers. Do one after the other, or give each thread a copy by copy.deepcopy."
            )
        for module in modules:
            _HOLDERS[id(module)] = (me, _HOLDERS.get(id(module), (me, 0))[1] + 1)
    try:
        yield
    finally:
        with _GUARD:
            for module in modules:
                _, depth = _HOLDERS.pop(id(module))
                if depth > 1:
                    _HOLDERS[id(module)] = (me, depth - 1)
