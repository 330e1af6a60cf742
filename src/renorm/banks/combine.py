"""Banks blended and pooled."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from renorm.banks.bank import Bank, check_same_sites
from renorm.banks.statistics import Statistics
from renorm.functional import Moments, unbiased
from renorm.functional import merge as merge_moments


def blend(source: Bank, target: Bank, prior: float = 64) -> Bank:
    r"""A bank between two: the source counts as ``prior`` images, the target as those it was measured on.

    .. math:: s \cdot \text{source} + (1 - s) \cdot \text{target}, \qquad s = \frac{\text{prior}}{\text{prior} + n}

    for means and (unbiased) variances alike. The affine, if any, is the source's.

    Sites that the target lacks, as nothing reached them, are the source's bit for bit.

    Args:
        prior: images the source is worth; ``inf`` is the source bit for bit, 0 the target.

    Raises:
        ValueError: other sites, a target of unknown size, or a negative prior.

    Reference: Schneider et al., *Improving robustness against common corruptions by covariate shift adaptation*, 2020.
    """
    check_same_sites(source, target)
    if target.samples is None:
        raise ValueError(
            "the target bank does not say how many images it was measured on. Blending needs its samples. "
            "Use a bank made by renorm.measure."
        )
    s = source_weight(prior, target.samples)
    sites = {}
    for name, a in source.sites.items():
        b = target.sites.get(name, a)
        mean, var = (interpolate(p, q.to(p), s) for p, q in ((a.mean, b.mean), (a.var, b.var)))
        sites[name] = replace(a, mean=mean, var=var, count=None)
    return replace(source, sites=sites, samples=None, data=f"blend, source weight {s:.3g}")


def source_weight(prior: float, samples: float) -> float:
    """``prior / (prior + samples)``, 1 for an infinite prior."""
    if isinstance(prior, (str, bool)) or not prior >= 0:
        raise ValueError(
            f"prior={prior} was given. It is a number of images, 0 or more. Use 64, or float('inf') for the source."
        )
    if prior == float("inf"):
        return 1.0
    return prior / (prior + samples) if prior + samples else 1.0


def interpolate(source: Tensor, target: Tensor, weight: float) -> Tensor:
    """``weight * source + (1 - weight) * target``, exact at both ends."""
    if weight in (0.0, 1.0):
        return (source if weight else target).clone()
    return torch.lerp(target, source, weight)


def merge(banks: Sequence[Bank]) -> Bank:
    """Banks of one branch pooled exactly, as if measured on all their data at once (given the same features).

    Raises:
        ValueError: none, other sites, branches or weights, or counts that are unknown.
    """
    if not banks:
        raise ValueError("no bank was given. Merging needs at least one. Pass a list of banks.")
    first = banks[0]
    for other in banks[1:]:
        check_same_sites(first, other)
        _same_features(first, other)
    names = dict.fromkeys(name for bank in banks for name in bank.sites)
    sites = {name: _merged(name, [bank.sites[name] for bank in banks if name in bank.sites]) for name in names}
    lost, single = (tuple(name for name in kind if name not in names) for kind in (first.unreached, first.single))
    known = [bank.samples for bank in banks if bank.samples is not None]
    total = sum(known) if len(known) == len(banks) else None
    return replace(first, sites=sites, samples=total, unreached=lost, single=single)


def _same_features(a: Bank, b: Bank) -> None:
    if a.branch != b.branch or (a.weights and b.weights and a.weights != b.weights):
        raise ValueError(
            f"banks of branches {a.branch!r} and {b.branch!r}, or of models with other weights, were given. Merging pools what "
            f"was measured on the same features. Measure through one branch of one model, or blend them."
        )


def _merged(name: str, parts: Sequence[Statistics]) -> Statistics:
    if any(part.count is None for part in parts):
        raise ValueError(
            f"site {name!r} of a bank has no count of values. Merging weighs banks by their counts. "
            f"Use banks made by renorm.measure, not Bank.of."
        )
    pooled: Moments | None = None
    for part in parts:
        n = torch.tensor(float(part.count or 0), dtype=torch.float64, device=part.mean.device)
        m = Moments(part.mean.double(), part.var.double() * ((n - 1).clamp(min=0) / n.clamp(min=1)), n)
        pooled = m if pooled is None else merge_moments(pooled, m)
    assert pooled is not None
    first = parts[0]
    count = sum(part.count or 0 for part in parts)
    return replace(first, mean=pooled.mean.to(first.mean), var=unbiased(pooled).to(first.var), count=count)
