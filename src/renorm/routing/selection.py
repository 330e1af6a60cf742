"""How a batch is divided among branches."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.utils.weak import WeakTensorKeyDictionary

Spec = str | Sequence[str] | Mapping[str, int] | Tensor
Labels = Tensor | str | int  # of samples; or one branch for all, by its name or index
UNKNOWN = -1  # the label of a sample of no branch; by name "unknown"


@dataclass(frozen=True, eq=False)
class Selection:
    """A partition of the batch among branches.

    ``kind`` is ``whole``, ``interleaved``, ``blocks`` or ``labels``. Compiled code reads ``kind``, ``num_branches`` and
    ``index`` only: ``(K,)`` branches in their order for the first two kinds, ``(N,)`` branches of samples for the others.
    """

    kind: str
    branches: tuple[int, ...]
    sizes: tuple[int, ...]
    num_branches: int
    index: Tensor

    def same(self, other: Selection | None) -> bool:
        """Whether both divide a batch alike; labels are alike only as the same tensor (comparing values would wait for it)."""
        if other is None or self.kind != other.kind or self.branches != other.branches or self.sizes != other.sizes:
            return False
        return self.kind != "labels" or self.index is other.index

    def of_samples(self, num_samples: int, repeats: int, device: torch.device) -> Tensor:
        """The branch of each sample, ``(num_samples * repeats,)``, samples repeated in place."""
        index = self.index.to(device)
        if self.kind == "whole":
            index = index.expand(num_samples)
        elif self.kind == "interleaved":
            index = index[torch.arange(num_samples, device=device) % self.num_branches]
        return index if repeats == 1 else index.repeat_interleave(repeats)


def repeats_of(selection: Selection, num_samples: int, batch: int | None, site: str) -> int:
    """How many rows of this site stand for each sample of the batch (of unknown size if None): time or patches folded into it."""
    kind, size = selection.kind, selection.index.shape[0]
    if kind == "whole":
        return 1
    if kind == "interleaved":
        size = num_samples if batch is None else batch
        if not torch.compiler.is_compiling() and size % selection.num_branches:
            raise ValueError(
                f"a batch of {size} cannot be interleaved over {selection.num_branches} branches (site {site!r}). "
                f"Interleaving needs a multiple of {selection.num_branches}. Set drop_last=True in the DataLoader, or route "
                f"blocks: route(model, {{name: size, ...}})."
            )
    if num_samples == size:
        return 1
    if size == 0 or num_samples % size or batch not in (None, size):
        raise ValueError(
            f"site {site!r} got {num_samples} samples where the route divides {size}"
            + (f", of a batch of {batch}. " if batch not in (None, size) else ". ")
            + "A route divides the whole batch, by sizes or labels; a site then sees as many samples, or a multiple "
            "(time or patches folded into the batch, sample by sample). Give the route the sizes of this batch."
        )
    return num_samples // size


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
