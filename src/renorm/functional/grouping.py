"""The parts of a sample that have moments of their own: groups of channels, at each position or over all of them."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor

from renorm.functional.statistics import positions

NORMS = ("pono", "in", "ln", "gn", "gpono")


class Grouping(NamedTuple):
    """How many groups of channels there are, and whether each position is a part of its own."""

    groups: int
    positional: bool

    def values(self, x: Tensor) -> int:
        """How many values a part of ``x`` has."""
        return x.shape[1] // max(self.groups, 1) * (1 if self.positional else positions(x))


def check_norm(norm: str, groups: int | None, group_size: int | None) -> None:
    """Refuse an unknown norm, and groups where there are none or none where they are needed."""
    if norm not in NORMS:
        raise ValueError(f"norm={norm!r} was given. Moments are taken over one of {list(NORMS)}. Choose one of them.")
    given = {k: v for k, v in (("groups", groups), ("group_size", group_size)) if v is not None}
    if norm in ("gn", "gpono") and len(given) != 1:
        raise ValueError(
            f"norm={norm!r} was given with {given or 'neither groups nor group_size'}. It needs one of both. Pass the number "
            f"of groups, groups=2, or the channels of each, group_size=32."
        )
    if norm not in ("gn", "gpono") and given:
        raise ValueError(
            f"norm={norm!r} was given with {given}. It has no groups of channels. Leave them out, or use 'gn' or 'gpono'."
        )
    if any(v < 1 for v in given.values()):
        raise ValueError(f"{given} was given. Groups are counted from 1. Pass a divisor of the channels.")


def grouping_of(x: Tensor, norm: str, groups: int | None = None, group_size: int | None = None) -> Grouping:
    """The parts that a norm divides ``x``, ``(N, C, *)``, into; refused where a part has one value."""
    channels = x.shape[1]
    if channels % (group_size or groups or 1):
        raise ValueError(
            f"{channels} channels cannot be divided by {group_size or groups} (norm={norm!r}). Groups need equal sizes. "
            f"Pass a divisor of {channels}."
        )
    number = channels // group_size if group_size else groups or (channels if norm == "in" else 1)
    grouping = Grouping(number, norm in ("pono", "gpono"))
    if x.numel() and grouping.values(x) < 2:
        raise ValueError(
            f"norm={norm!r} over a tensor of shape {tuple(x.shape)} gives parts of 1 value, whose variance is undefined. "
            f"It needs at least 2 values. " + _remedy(norm)
        )
    return grouping


def _remedy(norm: str) -> str:
    if norm == "pono":
        return "Use norm='in', or a layer with more channels."
    if norm == "in":
        return "Use norm='pono', or a layer with more positions."
    return "Use larger groups, or norm='ln'." if norm in ("gn", "gpono") else "Choose another layer."
