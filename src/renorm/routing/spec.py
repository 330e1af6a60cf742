"""Reading what was given as a route, or to a site in place of one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor
from torch.utils.weak import WeakTensorKeyDictionary

from renorm.routing.names import UNKNOWN, Branches, shown
from renorm.routing.selection import Alternating, Blocks, BySample, Selection

Spec = str | Sequence[str] | Mapping[str, int] | Tensor
Labels = Tensor | str | int  # of samples; or one branch for all, by its name or index


def read(spec: tuple[Spec, ...], of: Branches, device: torch.device | None, check: bool = True) -> Selection:
    """The arguments of :func:`renorm.route`."""
    first = spec[0] if len(spec) == 1 else None
    if isinstance(first, Tensor):
        return _labels(first, of, device, check)
    if isinstance(first, Mapping):
        return _blocks(first, of, device)
    names = first if isinstance(first, Sequence) and not isinstance(first, str) else spec
    if not names or not all(isinstance(name, str) for name in names):
        raise TypeError(
            f"route got {spec!r}. It needs branch names, a dict from names to block sizes, or a tensor (N,) of branch "
            f"indices. For example route(model, {of.branches[0]!r})."
        )
    rows = of.rows(names)  # pyright: ignore[reportArgumentType]
    return Alternating(rows, torch.tensor(rows, device=device))


def told(labels: Labels, of: Branches, num_samples: int, site: str) -> Selection:
    """The labels that a site was given; they are checked once per tensor, and never in compiled code."""
    if not isinstance(labels, Tensor):
        row = of.row(labels) if isinstance(labels, str) else _checked(labels, of)
        return Alternating((row,), torch.tensor([row]))
    selection = _labels(labels, of, None, check=not torch.compiler.is_compiling())
    if labels.ndim and len(labels) != num_samples:
        raise ValueError(
            f"site {site!r} got {num_samples} samples and {len(labels)} labels. Each sample needs one. Give the labels "
            f"of this batch, or one branch for all of it."
        )
    return selection


def _blocks(sizes: Mapping[str, int], of: Branches, device: torch.device | None) -> Selection:
    rows, counts = of.rows(tuple(sizes)), tuple(int(n) for n in sizes.values())
    if not rows or min(counts) < 0:
        raise ValueError(f"block sizes {dict(sizes)} were given. Each branch needs a size >= 0. Correct the sizes.")
    labels = torch.tensor(rows).repeat_interleave(torch.tensor(counts))
    return Blocks(rows, labels.to(device), counts)


def _labels(labels: Tensor, of: Branches, device: torch.device | None, check: bool) -> Selection:
    if labels.ndim > 1 or labels.dtype != torch.int64:
        raise TypeError(
            f"labels of shape {tuple(labels.shape)} and {labels.dtype} were given. A route by sample needs (N,) int64, or one "
            f"label () for the whole batch. Flatten them and convert by .long()."
        )
    known = check and labels.numel() > 0
    low, high = range_of(labels) if known else (0, 0)
    if not of.lowest <= low <= high < len(of.branches):
        raise ValueError(
            f"labels between {low} and {high} were given. The {len(of.branches)} branches "
            f"{shown(of.branches)} are 0 to {len(of.branches) - 1}"
            + (", and -1 (unknown) has no affine of its own here. " if low == UNKNOWN else ". ")
            + "Map the labels to branches first."
        )
    labels = labels if device is None else labels.to(device)
    if labels.ndim == 0:
        return Alternating((low,) if known else (), labels.view(1))
    return BySample(tuple(range(len(of.branches))), labels)


def _checked(label: int, of: Branches) -> int:
    """The branch of a whole batch, by its index."""
    if not isinstance(label, int) or isinstance(label, bool):
        raise TypeError(
            f"labels of type {type(label).__name__} were given. A site takes a tensor (N,) int64, or for the whole batch one "
            f"branch, its name or index. Convert them by torch.tensor(...)."
        )
    if not of.lowest <= label < len(of.branches):
        raise ValueError(
            f"label {label} was given. The {len(of.branches)} branches {shown(of.branches)} are 0 to "
            f"{len(of.branches) - 1}. Map the label to a branch first."
        )
    return label


# Of labels that were checked: layers that are given the same tensor need not wait again.
_RANGES = WeakTensorKeyDictionary()


def range_of(labels: Tensor) -> tuple[int, int]:
    """The smallest and the largest label, known to the host once per tensor and version of it."""
    version = None if labels.is_inference() else labels._version
    known = _RANGES.get(labels)
    if known is None or version is None or known[0] != version:
        low, high = torch.stack(torch.aminmax(labels)).tolist()
        _RANGES[labels] = known = (version, low, high)
    return known[1], known[2]
