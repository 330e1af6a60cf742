"""Which examples each step of an epoch has, in an order that only the seed and the epoch decide.

They do not depend on how many processes train, nor on how many forwards a step is divided into: each forward takes a
consecutive piece of them, and each process a consecutive piece of that.
"""

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch

from renorm.seeds import stable_seed

Key = tuple[int, int]  # epoch, index of the example


class Share(NamedTuple):
    """What one process takes of a step: keys of its examples, how many belong to each forward, and of how many in all.

    ``place`` is the epoch and the number of the step in it, the same for all processes.
    """

    keys: list[Key]
    sizes: tuple[int, ...]
    total: int
    place: tuple[int, int]


@dataclass(frozen=True)
class Order:
    """Shares of one epoch, step by step.

    Args:
        num_examples: Of the data.
        batch: Examples of a step, over all processes.
        seed: Of the order.
        epoch: Which one.
        first: Number of the step to begin at.
        least: Examples that a last, short step must have; by default there is none.
        forwards: Into how many each step is divided.
        rank: Which process this is.
        ranks: Of how many.
    """

    num_examples: int
    batch: int
    seed: int
    epoch: int
    first: int = 0
    least: int | None = None
    forwards: int = 1
    rank: int = 0
    ranks: int = 1

    def __iter__(self) -> Iterator[Share]:
        generator = torch.Generator().manual_seed(stable_seed(self.seed, "order", self.epoch))
        order = torch.randperm(self.num_examples, generator=generator).tolist()
        for step in range(self.first, self.steps):
            keys = [(self.epoch, index) for index in order[step * self.batch : (step + 1) * self.batch]]
            mine = [pieces(piece, self.ranks)[self.rank] for piece in pieces(keys, self.forwards)]
            yield Share([key for piece in mine for key in piece], tuple(map(len, mine)), len(keys), (self.epoch, step))

    def __len__(self) -> int:
        return self.steps - self.first

    @property
    def steps(self) -> int:
        """Steps of the whole epoch."""
        return num_batches(self.num_examples, self.batch, self.least)


def num_batches(num_examples: int, batch: int, least: int | None = None) -> int:
    """How many batches there are, a last, short one only if it has at least so many.

    Example:
        >>> num_batches(10, 4), num_batches(10, 4, least=2), num_batches(10, 4, least=3)
        (2, 3, 2)
    """
    whole, rest = divmod(num_examples, batch)
    return whole + (0 < (least or batch) <= rest)


def pieces(keys: Sequence[Key], number: int) -> list[Sequence[Key]]:
    """Consecutive pieces whose lengths differ by at most one, the longer ones first."""
    size, longer = divmod(len(keys), number)
    ends = [(i + 1) * size + min(i + 1, longer) for i in range(number)]
    return [keys[start:end] for start, end in zip([0, *ends], ends, strict=False)]


@dataclass(frozen=True)
class Keys:
    """The keys of shares, as a loader asks for them."""

    shares: Collection[Share] | Order

    def __iter__(self) -> Iterator[list[Key]]:
        return (share.keys for share in self.shares)

    def __len__(self) -> int:
        return len(self.shares)
