"""Where images come from, so that the same ones can be read again."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Origin:
    """How images were read.

    Args:
        given: What named them.
        path: The absolute path of their folder or file; nothing for a data set that has a name.
        split: Of them.
        size: Side in pixels that was asked for.
        holdout: Share of data without splits that is their test split.
        drawn: How many were drawn of them, and the seed of the draw.
        domain: Which of their domains they are.
    """

    given: str
    path: str = ""
    split: str = ""
    size: int | None = None
    holdout: float = 0.0
    drawn: tuple[int, int] | None = None
    domain: str = ""
