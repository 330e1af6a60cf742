"""Which examples a step has where steps are counted and passes over the data are not."""

from functools import lru_cache

import torch
from torch import Tensor

from renorm.seeds import stable_seed


def in_turn(num_examples: int, first: int, count: int, *key: int | str) -> Tensor:
    """Indices of so many examples from a position on, in a row of random orders of all of them.

    Args:
        num_examples: Of the data.
        first: The position, counted from the beginning of training.
        count: How many.
        key: Of the orders: a seed, and a word where two rows are to differ.

    Example:
        >>> sorted(torch.cat([in_turn(4, 0, 3, 7), in_turn(4, 3, 1, 7)]).tolist())
        [0, 1, 2, 3]
    """
    places = range(first, first + count)
    return torch.tensor([_order(num_examples, place // num_examples, key)[place % num_examples] for place in places])


@lru_cache(maxsize=4)
def _order(num_examples: int, turn: int, key: tuple[int | str, ...]) -> list[int]:
    generator = torch.Generator().manual_seed(stable_seed(*key, "order", turn))
    return torch.randperm(num_examples, generator=generator).tolist()
