"""What one site uses: as a value, how far from another, and whether a site could normalize by it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True, eq=False)
class Statistics:
    """One site: mean and unbiased variance ``(C,)``, values per channel they were measured on, and maybe an affine."""

    mean: Tensor
    var: Tensor
    count: int | None = None
    weight: Tensor | None = None
    bias: Tensor | None = None


def distance(a: Statistics, b: Statistics) -> float:
    """How far ``b`` is from ``a``, in standard deviations of ``a``; see :meth:`renorm.Bank.distance`."""
    mean_a, var_a, mean_b, var_b = (t.double().cpu() for t in (a.mean, a.var, b.mean, b.var))
    gap = (mean_a - mean_b).square() + (var_a.clamp(min=0).sqrt() - var_b.clamp(min=0).sqrt()).square()
    return float((gap / var_a.clamp(min=1e-12)).mean().sqrt())


def check_finite(name: str, s: Statistics) -> None:
    """Refuse statistics no site could normalize by."""
    if not (s.mean.isfinite().all() and s.var.isfinite().all() and (s.var >= 0).all()):
        raise ValueError(
            f"the statistics of site {name!r} are not finite or negative. A site needs finite means and variances >= 0. "
            f"Look for NaN in the images or the weights, and measure again."
        )


def check_all_finite(sites: Mapping[str, Statistics]) -> None:
    """:func:`check_finite` of every site, waiting for the device once where all is well."""
    device = next((s.mean.device for s in sites.values()), None)
    mean = torch.cat([s.mean.to(device, torch.float32) for s in sites.values()])
    var = torch.cat([s.var.to(device, torch.float32) for s in sites.values()])
    if not (mean.isfinite() & var.isfinite() & (var >= 0)).all():
        for name, statistics in sites.items():
            check_finite(name, statistics)
