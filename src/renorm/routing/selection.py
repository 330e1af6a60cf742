"""How a batch is divided among branches."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Hashable
from itertools import accumulate
from typing import Literal

import torch
from torch import Tensor

from renorm.routing.names import UNKNOWN

RowOrder = Literal["sample", "time"]  # of the rows of a site where several stand for each sample


class Selection(ABC):
    """A partition of a batch among branches, as sites see it: they ask, and need not know the form of the route.

    Compiled code must not depend on Python values that change from step to step. So it is given tensors (:meth:`index`,
    ``take``), the class and ``beside``; of ``rows`` and of sizes that are not equal it can know nothing.

    Args:
        rows: the branches, as indices, in the order in which they are routed.
        beside: how many branches take turns, sample by sample: a batch viewed as ``(N/K, K*C, *)`` has them side by side as
            channels. 1 is one branch for the whole batch, 0 a partition of another form.
        samples: as many rows as a batch has samples, of no values, where the user said how many.
        order: of rows where a site sees several for each sample, where the user said so.
    """

    sized = False  # whether it says of how many samples a batch consists

    def __init__(self, rows: tuple[int, ...], beside: int) -> None:
        self.rows, self.beside = rows, beside
        self.samples: Tensor | None = None
        self.order: RowOrder | None = None

    @abstractmethod
    def index(self, n: int, device: torch.device | None = None) -> Tensor:
        """The branch of each of the ``n`` rows of a batch, ``(n,)`` int64."""

    @abstractmethod
    def sizes(self, n: int) -> tuple[int, ...] | None:
        """How many of ``n`` rows each branch has, in the order of ``rows``; ``None`` where only the device knows."""

    @abstractmethod
    def slices(self, n: int) -> tuple[slice, ...] | None:
        """Where the ``n`` rows of each branch are, in the order of ``rows``; ``None`` where they are no slices."""

    @property
    @abstractmethod
    def take(self) -> slice | Tensor:
        """What takes ``rows`` from a table by branch: a slice where they follow each other, as slices copy nothing."""

    @abstractmethod
    def folded(self, times: int, order: RowOrder, size: int) -> Selection:
        """The same for ``times`` rows of each of ``size`` samples, t of b at ``b * times + t``, or ``t * size + b``."""

    @property
    def only(self) -> int | None:
        """The branch of the whole batch, if it is one."""
        return None

    def _known(self) -> tuple[int, ...]:
        """``rows``, where the host may know them."""
        return () if torch.compiler.is_compiling() else self.rows

    def all_of(self, row: int) -> bool:
        """Whether every sample is of a branch, which may wait for the device."""
        return self.only == row

    @abstractmethod
    def _key(self) -> Hashable:
        """What two selections that divide a batch alike have in common; of labels the tensor, as values are on the device."""

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Selection) and type(self) is type(other) and self._whole() == other._whole()

    def __hash__(self) -> int:
        return hash(self._whole())

    def _whole(self) -> Hashable:
        return self._key(), None if self.samples is None else len(self.samples), self.order


class Alternating(Selection):
    """Sample i belongs to branch i mod K of those named; to one branch, if it is the only one.

    Args:
        rows: the branches; none, where only the device knows the one of the whole batch.
        table: ``rows`` as a tensor ``(K,)``.
    """

    def __init__(self, rows: tuple[int, ...], table: Tensor) -> None:
        super().__init__(rows, table.shape[0])
        self.table = table

    def index(self, n: int, device: torch.device | None = None) -> Tensor:
        table = self.table.to(device)
        return table.expand(n) if self.beside == 1 else table[torch.arange(n, device=table.device) % self.beside]

    def sizes(self, n: int) -> tuple[int, ...]:
        return (n // self.beside,) * self.beside

    def slices(self, n: int) -> tuple[slice, ...]:
        return tuple(slice(start, n, self.beside) for start in range(self.beside))

    @property
    def take(self) -> slice | Tensor:
        return self.table if torch.compiler.is_compiling() or not self.rows else _taken(self.rows)

    @property
    def only(self) -> int | None:
        if self.beside != 1:
            return None
        return self.rows[0] if self.rows else int(self.table)

    def _key(self) -> Hashable:
        return self.rows or id(self.table)

    def folded(self, times: int, order: RowOrder, size: int) -> Selection:
        if self.beside == 1 or order == "time":
            return self  # whole batches one after the other take turns as one does
        return BySample(self._known(), self.index(size).repeat_interleave(times), self.sizes(size * times))


class BySample(Selection):
    """Each sample belongs to the branch that its label says.

    Args:
        labels: ``(N,)`` int64.
        counts: how many samples each branch has, where the host knows it.
    """

    def __init__(self, rows: tuple[int, ...], labels: Tensor, counts: tuple[int, ...] | None = None) -> None:
        super().__init__(rows, 0)
        self.labels, self.counts = labels, counts

    def index(self, n: int, device: torch.device | None = None) -> Tensor:
        return self.labels.to(device)

    def sizes(self, n: int) -> tuple[int, ...] | None:
        return None if torch.compiler.is_compiling() else self.counts

    def slices(self, n: int) -> tuple[slice, ...] | None:
        return None

    @property
    def take(self) -> slice | Tensor:
        return slice(None) if torch.compiler.is_compiling() else _taken(self.rows)

    def all_of(self, row: int) -> bool:
        return bool((self.labels == row).all())

    def folded(self, times: int, order: RowOrder, size: int) -> BySample:
        labels = self.labels.repeat_interleave(times) if order == "sample" else self.labels.repeat(times)
        sizes = self.sizes(len(self.labels))
        return BySample(self._known(), labels, None if sizes is None else tuple(times * n for n in sizes))

    def _key(self) -> Hashable:
        return id(self.labels)


class Blocks(BySample):
    """The samples of each branch follow each other."""

    sized = True

    def slices(self, n: int) -> tuple[slice, ...] | None:
        sizes = self.sizes(n)
        if sizes is None:
            return None
        return tuple(slice(end - size, end) for end, size in zip(accumulate(sizes), sizes, strict=True))

    def folded(self, times: int, order: RowOrder, size: int) -> BySample:
        folded = super().folded(times, order, size)
        return Blocks(self._known(), folded.labels, folded.counts) if order == "sample" else folded

    def _key(self) -> Hashable:
        return self.rows, self.counts


def _taken(rows: tuple[int, ...]) -> slice | Tensor:
    first = rows[0]
    if rows == tuple(range(first, first + len(rows))) and first != UNKNOWN:
        return slice(first, first + len(rows))
    return torch.tensor(rows)
