"""Forwards that move no running statistics."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from renorm.layers.norms import moving, scripted
from renorm.routing import Route

STATISTICS = ("running_mean", "running_var", "num_batches_tracked")


class Paused:
    """What a norm's ``track_running_stats`` is for a while, PyTorch's own way to normalize by the batch and update nothing.

    It is false, and a copy of it is ``True``: for a copy of the model nobody ends the block.
    """

    def __bool__(self) -> bool:
        return False

    def __deepcopy__(self, memo: dict[int, Any]) -> bool:
        return True

    def __reduce__(self) -> tuple[type[bool], tuple[int]]:
        return bool, (1,)

    def __repr__(self) -> str:
        return "False"


PAUSED = Paused()


@contextmanager
def frozen_statistics(model: nn.Module) -> Iterator[None]:
    """Forwards inside move no running statistics, of branched sites and plain norms alike.

    In training mode sites still normalize by the batch. A copy of the model that is made inside is not frozen. Under
    activation checkpointing of plain norms call ``backward`` inside the block as well: its recomputation would update them.

    Example:
        >>> norm = torch.nn.BatchNorm1d(3).train()
        >>> with renorm.frozen_statistics(norm):
        ...     _ = norm(torch.randn(4, 3))
        >>> norm.num_batches_tracked
        tensor(0)
    """
    modules = list(model.modules())
    routes = {id(r): r for r in (vars(m).get("route") for m in modules) if isinstance(r, Route)}
    plain = [m for m in modules if isinstance(m, _BatchNorm) and m.track_running_stats]
    others = [m for m in modules if not _honours_tracking(m)]
    unlike = list(moving(model).values())
    try:
        for each in routes.values():
            each.frozen += 1
        for norm in plain:
            norm.track_running_stats = PAUSED  # pyright: ignore[reportAttributeAccessIssue]
        with borrowed_statistics(others), borrowed_buffers(unlike):
            yield
    finally:
        for each in routes.values():
            each.frozen -= 1
        for norm in plain:
            norm.track_running_stats = True


def _honours_tracking(module: nn.Module) -> bool:
    """Whether the module obeys the flag of its class or of its route; others update a copy."""
    own = isinstance(vars(module).get("route"), Route)
    return own or type(module).forward in (_BatchNorm.forward, nn.SyncBatchNorm.forward)


@contextmanager
def borrowed_statistics(modules: Iterable[nn.Module]) -> Iterator[None]:
    """Let modules update clones of their statistics, and drop the clones: backward still finds the originals untouched."""
    with _borrowed([(m, key) for m in modules for key in m._buffers if key in STATISTICS]):
        yield


@contextmanager
def borrowed_buffers(modules: Iterable[nn.Module]) -> Iterator[None]:
    """The same of all buffers, whatever their names: for modules that learn in evaluation too, or norms of other kinds."""
    with _borrowed([(m, key) for m in modules if not scripted(m) for key in m._buffers]):
        yield


@contextmanager
def _borrowed(keys: Iterable[tuple[nn.Module, str]]) -> Iterator[None]:
    owned = [(m, key, m._buffers[key]) for m, key in keys]
    lent = {id(buffer): _lent(buffer) for _, _, buffer in owned if buffer is not None}
    try:
        for module, key, buffer in owned:
            module._buffers[key] = lent.get(id(buffer))
        yield
    finally:
        for module, key, buffer in owned:
            module._buffers[key] = buffer


def _lent(buffer: Tensor) -> Tensor:
    """A clone, to be written to, of which a copy is one of the original: the clone is for the block alone."""
    clone: Any = buffer.clone()
    clone.__deepcopy__, clone.__reduce_ex__ = buffer.__deepcopy__, buffer.__reduce_ex__
    return clone
