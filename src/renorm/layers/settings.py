"""What sites are made with, checked."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import torch
import torch.distributed as dist
from torch import Generator, Tensor

SHARABLE = ("statistics", "affine")
SPREAD = 0.02  # standard deviation of the published initial scales
Sync = dist.ProcessGroup | str | None


def names_of(branches: Sequence[str] | int) -> Sequence[str]:
    """Branches that were only counted, by name."""
    return [str(k) for k in range(branches)] if isinstance(branches, int) else branches


def check_share(share: str | Iterable[str]) -> tuple[str, ...]:
    """What branches share, as a tuple in a fixed order."""
    given = (share,) if isinstance(share, str) else tuple(share)
    if set(given) - set(SHARABLE):
        raise ValueError(
            f"share={share!r} was given. Branches can share {list(SHARABLE)}. Use one of them, both or neither."
        )
    return tuple(name for name in SHARABLE if name in given)


def check_sandwich(share: str | Iterable[str]) -> tuple[str, ...]:
    """What the branches of a sandwich share besides the affine between: the statistics, or nothing."""
    given = (share,) if isinstance(share, str) else tuple(share)
    if set(given) - {"statistics"}:
        raise ValueError(
            f"share={share!r} was given for a sandwich. Its branches have one affine in common and one each, and can share "
            f"'statistics' besides. Use share='statistics' or (), or renorm.split_ with share='affine' for the common one alone."
        )
    return tuple(dict.fromkeys(given))


def check_unknown(unknown: str | None, share: Sequence[str]) -> bool:
    """Whether samples of no branch are taken."""
    if unknown not in (None, "shared", "error"):
        raise ValueError(
            f"unknown={unknown!r} was given. Samples of no branch get the shared affine alone, or are refused. "
            f"Use 'shared' or 'error'."
        )
    if unknown == "shared" and "statistics" not in share:
        raise ValueError(
            "unknown='shared' was given for branches with statistics of their own. A sample of no branch has none. "
            "Use share='statistics', or give such samples a branch by renorm.add_branch_ and renorm.adapt_."
        )
    return unknown == "shared" or (unknown is None and "statistics" in share)


@torch.no_grad()
def fill_affine_(
    weights: Iterable[Tensor | None], biases: Iterable[Tensor | None], init: str, generator: Generator | None
) -> None:
    """Set affines to the identity, or as published: scales drawn from N(1, 0.02), biases 0."""
    if init not in ("identity", "published"):
        raise ValueError(
            f"init={init!r} was given. Affines start as the identity or as published. Use 'identity' or 'published'."
        )
    if init == "published" and generator is None:
        raise ValueError(
            "init='published' was given without a generator. Its scales are drawn at random. "
            "Pass generator=torch.Generator().manual_seed(0), or init='identity'."
        )
    for weight in weights:
        if weight is not None and generator is not None and init == "published":
            drawn = torch.randn(weight.shape, generator=generator, device=generator.device)
            weight.copy_(1 + SPREAD * drawn)
        elif weight is not None:
            weight.fill_(1)
    for bias in biases:
        if bias is not None:
            bias.zero_()
