"""Which images belong to which split."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

import torch
from torch import Tensor

USUAL = {"train", "training", "test", "testing", "val", "valid", "validation", "dev"}


def choose(data: str, split: str, names: Iterable[str], holdout: float) -> str | None:
    """The name of the part of data that is a split, or None where they are one whole.

    Args:
        data: their name, for messages.
        split: the split asked for.
        names: parts that the data have: subfolders, or files' stems.
        holdout: share of a whole that is its test split.

    Raises:
        ValueError: the data have splits, but not this one; or they are divided already, and ``holdout`` divides again.
    """
    names = sorted(set(names))
    if split not in names and not USUAL.intersection(names):
        if split in ("train", "test"):
            return None
        raise unknown_split(data, split, [*names, "train", "test"])
    if split not in names:
        raise unknown_split(data, split, names)
    if holdout:
        raise ValueError(
            f"{data} has the splits {', '.join(names)} and holdout={holdout} would divide {split!r} once more. "
            f"Only data without splits can be divided. Leave holdout out, or load {data}/{split} itself."
        )
    return split


def indices_of(labels: Tensor, split: str, holdout: float, seed: int = 0) -> Tensor:
    """Indices of the ``train`` or ``test`` part of a whole, in its order; all of them without ``holdout``.

    From each class, the first ``round(holdout * n)`` of its n images in an order drawn with the seed are for testing,
    so the parts are the same in every run, never overlap, and are stratified.

    Example:
        >>> labels = torch.tensor([0, 0, 0, 0, 1, 1, 1, 1])
        >>> test = indices_of(labels, "test", 0.25)
        >>> labels[test]
        tensor([0, 1])
    """
    if not 0 <= holdout < 1:
        raise ValueError(f"holdout={holdout} is no share. A number from 0 to 1, without 1, is needed: try 0.2.")
    if not holdout:
        return torch.arange(len(labels))
    generator = torch.Generator().manual_seed(seed)
    testing = torch.zeros(len(labels), dtype=torch.bool)
    for label in labels.unique().tolist():
        members = (labels == label).nonzero()[:, 0]
        drawn = torch.randperm(len(members), generator=generator)[: round(holdout * len(members))]
        testing[members[drawn]] = True
    chosen = (testing if split == "test" else ~testing).nonzero()[:, 0]
    if not len(chosen):
        raise ValueError(
            f"holdout={holdout} of {len(labels)} images leaves none for {split!r}. "
            "At least one image is needed in either part. Choose another share."
        )
    return chosen


def unknown_split(data: str, split: str, names: list[str]) -> ValueError:
    close = difflib.get_close_matches(split, names, n=1)
    return ValueError(
        f"{data} has no split {split!r}. It has {', '.join(dict.fromkeys(names))}. "
        f"Use {repr(close[0]) if close else 'one of these'}."
    )
