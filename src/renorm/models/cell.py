"""The cells of NAS-Bench-201: four nodes and an operation on each of the six edges between them.

Node 0 is the input of a cell, node 3 its output, and every other node the sum of the edges that end in it.

Reference: Dong & Yang, *NAS-Bench-201: Extending the Scope of Reproducible Neural Architecture Search*, ICLR 2020.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

import torch

OPERATIONS = ("none", "skip_connect", "nor_conv_1x1", "nor_conv_3x3", "avg_pool_3x3")
EDGES = (
    (1, 0),
    (2, 0),
    (2, 1),
    (3, 0),
    (3, 1),
    (3, 2),
)  # where each ends and starts, in the order of names and weights
CONVOLUTIONS = frozenset({"nor_conv_1x1", "nor_conv_3x3"})


@dataclass(frozen=True)
class Cell:
    """One operation for each edge, in the order 1<-0, 2<-0, 2<-1, 3<-0, 3<-1, 3<-2.

    Args:
        operations: six of ``none``, ``skip_connect``, ``nor_conv_1x1``, ``nor_conv_3x3`` and ``avg_pool_3x3``.

    Raises:
        ValueError: they are not six, or one of them is unknown.

    Example:
        >>> cell = Cell.parse("|nor_conv_3x3~0|+|none~0|skip_connect~1|+|skip_connect~0|avg_pool_3x3~1|none~2|")
        >>> cell.connected, cell.free_edges, cell.operations[0]
        (True, 5, 'nor_conv_3x3')
    """

    operations: tuple[str, ...]

    def __post_init__(self) -> None:
        unknown = sorted(set(self.operations) - set(OPERATIONS))
        if len(self.operations) != len(EDGES) or unknown:
            raise ValueError(
                f"{len(self.operations)} operations were given{', unknown ones among them: ' if unknown else ''}"
                f"{', '.join(map(repr, unknown))}. A cell has one on each of its 6 edges, of {', '.join(OPERATIONS)}. "
                "Give six of these names."
            )

    @classmethod
    def parse(cls, text: str) -> Cell:
        """The cell of a string of the benchmark, for instance of its ``arch`` column.

        Raises:
            ValueError: it is no such string; nothing is guessed of short names and other orders.
        """
        names = tuple(re.findall(r"([^|+~]+)~\d", text))
        if len(names) == len(EDGES) and set(names) <= set(OPERATIONS) and str(cell := cls(names)) == text:
            return cell
        raise ValueError(
            f"{text!r} is no cell of NAS-Bench-201. A string such as '{cls(('nor_conv_3x3',) * len(EDGES))}' is needed, of the "
            f"operations {', '.join(OPERATIONS)}. Write them out, in the order of the edges, each with the node it starts from."
        )

    @classmethod
    def numbered(cls, numbers: Sequence[int]) -> Cell:
        """The cell of operations by their numbers in ``OPERATIONS``, for instance the largest weight of every edge.

        Raises:
            ValueError: there is no operation of that number.
        """
        if not set(numbers) <= set(range(len(OPERATIONS))):
            raise ValueError(
                f"the operations {list(numbers)} were given. Numbers from 0 to {len(OPERATIONS) - 1} are needed, of "
                f"{', '.join(OPERATIONS)}. Take the argmax of each edge over its {len(OPERATIONS)} weights."
            )
        return cls(tuple(OPERATIONS[number] for number in numbers))

    @classmethod
    def uniform(cls, generator: torch.Generator | None = None) -> Cell:
        """One of the 15,284 cells that connect their input to their output, each as likely; others are drawn again."""
        while True:
            cell = cls.numbered(torch.randint(len(OPERATIONS), (len(EDGES),), generator=generator).tolist())
            if cell.connected:
                return cell

    def __str__(self) -> str:
        nodes = [[] for _ in range(EDGES[-1][0])]
        for operation, (end, start) in zip(self.operations, EDGES, strict=True):
            nodes[end - 1].append(f"{operation}~{start}")
        return "+".join(f"|{'|'.join(node)}|" for node in nodes)

    def __repr__(self) -> str:
        return f"Cell.parse('{self}')"

    @property
    def numbers(self) -> tuple[int, ...]:
        """Of the operations, in ``OPERATIONS``."""
        return tuple(map(OPERATIONS.index, self.operations))

    @property
    def connected(self) -> bool:
        """Whether a path without ``none`` leads from the input to the output; without one, a network guesses."""
        reached = {0}
        for operation, (end, start) in zip(self.operations, EDGES, strict=True):
            if operation != "none" and start in reached:
                reached.add(end)
        return EDGES[-1][0] in reached

    @property
    def free_edges(self) -> int:
        """How many edges have no parameters: those without a convolution."""
        return sum(operation not in CONVOLUTIONS for operation in self.operations)

    @property
    def graph(self) -> str:
        """What is computed, with skip connections contracted: equal for cells that the benchmark counts as one graph.

        There are 6,466. Sums are sorted before they are contracted into others, so that some equal functions differ: which
        ones follows from the characters, and these are the benchmark's.
        """
        nodes = ["0"]
        for node in range(1, EDGES[-1][0] + 1):
            edges = [(o, nodes[start]) for o, (end, start) in zip(self.operations, EDGES, strict=True) if end == node]
            nodes.append("+".join(sorted(_term(*edge) for edge in edges)))
        return nodes[-1]

    def condition(self, node: int) -> int:
        r"""Number of the operations that lead to a node, among the :math:`5^{node}` possible: what its edges are given.

        .. math:: \sum_{i < node} 5^i \, o(node \leftarrow i)

        Args:
            node: 0, 1 or 2, from which edges start.

        Example:
            >>> cell = Cell.numbered([2, 3, 4, 0, 0, 2])
            >>> cell.condition(0), cell.condition(1), cell.condition(2)
            (0, 2, 23)
        """
        digits = {start: number for number, (end, start) in zip(self.numbers, EDGES, strict=True) if end == node}
        return sum(len(OPERATIONS) ** start * number for start, number in digits.items())


def _term(operation: str, given: str) -> str:
    """What an edge adds to a sum; nothing is written ``#``, and so are operations on it."""
    if operation == "none" or given == "#":
        return "#"
    return given if operation == "skip_connect" else f"({given})@{operation}"
