"""Where images come from, so that the same ones can be read again."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from renorm.data.frame import Frame


@dataclass(frozen=True)
class Origin:
    """How images were read.

    Args:
        given: What named them.
        path: The absolute path of their folder or file; nothing for a data set that has a name.
        split: Of them.
        size: Side in pixels that was asked for.
        labels: Where they are from: folders, a column.
        unlabelled: Whether none were wanted.
        skip_damaged: Whether images that cannot be read were left out.
        frame: What is shown of each image, where a model asked for it.
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
    frame: Frame | None = None
    labels: str = ""
    unlabelled: bool = False
    skip_damaged: bool = False

    @classmethod
    def from_values(cls, values: Mapping[str, Any]) -> Origin:
        """The origin that :func:`dataclasses.asdict` took apart, perhaps through JSON."""
        drawn, frame = values["drawn"], values.get("frame")
        frame = frame and Frame(**{**frame, "size": tuple(frame["size"])})
        return cls(**{**values, "drawn": None if drawn is None else tuple(drawn), "frame": frame})
