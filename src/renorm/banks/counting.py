"""How many samples a batch has: counted where that is certain, else told."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor
from torch.utils._pytree import register_pytree_node

from renorm.routing import RowOrder, order_of

Samples = int | Callable[[Any], int] | None


@dataclass(frozen=True)
class Counted:
    """A batch, as the model takes it, how many samples it has, and the order of rows where a site sees several for each."""

    batch: Any
    samples: int
    order: RowOrder | None = None


register_pytree_node(Counted, lambda c: ([c.batch], (c.samples, c.order)), lambda parts, told: Counted(*parts, *told))


def counted(batch: Any, samples: Samples = None, *, whole: bool = False, folded: str | None = None) -> Counted:
    """A batch with its number of samples, told or counted.

    Args:
        samples: how many there are, or what tells it of a batch.
        whole: a function of the user's is given the batch as a whole; else the model gets a list's first entry.
        folded: the order of rows, as in :func:`renorm.route`.

    Raises:
        TypeError: nothing that can be counted with certainty, and nobody said it.
        ValueError: a number that is none, or an unknown order.
    """
    if isinstance(batch, Counted):
        return batch
    n = _count(batch, samples, whole)
    return Counted(dict(batch) if isinstance(batch, Mapping) else batch, n, order_of(folded))


def num_samples(batch: Any, samples: Samples = None) -> int:
    """How many samples a batch has."""
    return counted(batch, samples).samples


def each_counted(batches: Any, samples: Samples, *, whole: bool) -> Iterator[Counted]:
    """Batches with their numbers of samples, one after the other."""
    return (counted(batch, samples, whole=whole) for batch in batches)


def _count(batch: Any, samples: Samples, whole: bool) -> int:
    if samples is not None:
        n = samples(batch) if callable(samples) else samples
        if not isinstance(n, int) or isinstance(n, bool) or n < 0:
            raise ValueError(f"samples={n!r} was given. It is the number of samples in a batch. Give an integer >= 0.")
        return n
    if whole and isinstance(batch, list):
        return _of_list(batch)
    if isinstance(batch, (list, tuple)) and batch:
        batch = batch[0]
    elif isinstance(batch, Mapping):
        return _of_mapping(batch)
    return _of_input(batch)


def _of_input(given: Any) -> int:
    """A tensor counts its rows, a list of samples its entries."""
    if isinstance(given, Mapping):
        return _of_mapping(given)
    if isinstance(given, Tensor) and given.ndim:
        return len(given)
    if isinstance(given, (list, tuple)) and given:
        return _of_samples(given)
    raise TypeError(
        f"a batch of {_described(given)} was given. A batch is a tensor, a tuple whose first entry is the input, or a dict of "
        f"keyword arguments. Make it one of these, and pass forward= if the model needs another; or say how many samples it "
        f"has: samples=."
    )


def _of_list(entries: Sequence[Any]) -> int:
    """Of a list that is passed as a whole; entries that are not alike are no samples, but inputs and labels side by side."""
    ranks = {entry.ndim if isinstance(entry, Tensor) else None for entry in entries}
    return _of_input(entries[0]) if len(ranks) > 1 and isinstance(entries[0], Tensor) else _of_samples(entries)


def _of_samples(entries: Sequence[Any]) -> int:
    """Images alone and things that are no tensors can be nothing else than samples."""
    if not _are_samples(entries):
        raise TypeError(
            f"a list of {len(entries)} entries was given, the first of {_kind(entries[0])}. They may be samples, or inputs side "
            f"by side that hold samples. Say how many samples there are: samples=, a number or a function of the batch."
        )
    return len(entries)


def _are_samples(entries: Sequence[Any]) -> bool:
    alone = [entry.ndim == 3 if isinstance(entry, Tensor) else None for entry in entries]
    return all(alone) or not (
        any(each is not None for each in alone) or any(isinstance(e, (list, tuple)) for e in entries)
    )


def _of_mapping(batch: Mapping[Any, Any]) -> int:
    """The number that all its tensors and lists agree on, where these are certain."""
    sized = {key: _size(value) for key, value in batch.items() if isinstance(value, (Tensor, list, tuple, Mapping))}
    known = {size for size in sized.values() if size != "()"}
    if len(known) == 1 and isinstance(found := known.pop(), int):
        return found
    raise TypeError(
        f"a dict was given whose entries have the lengths {sized}. Which of them is the number of samples is not guessed. "
        f"Say it: samples=, a number or a function of the batch."
    )


def _size(value: Any) -> int | str:
    """Of an entry of a dict: how many samples it has; ``"?"`` where that is not certain, ``"()"`` for a single number."""
    if isinstance(value, Tensor):
        return len(value) if value.ndim else "()"
    return len(value) if isinstance(value, list) and _are_samples(value) else "?"


def _kind(given: Any) -> str:
    return f"shape {tuple(given.shape)}" if isinstance(given, Tensor) else f"type {type(given).__name__}"


def _described(given: Any) -> str:
    return _kind(given) + ("" if isinstance(given, Tensor) else " without tensors")
