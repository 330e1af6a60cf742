"""All the mathematics of renorm, as pure functions.

Notation: ``x`` is ``(N, C, *)`` with N samples, C channels and P positions (the product of ``*``, 1 if empty).
A *population* is a set of samples that share statistics; a *row* is a set of samples that share an affine. Both are
given by an index ``(N,)``, or ``None`` where all samples belong together.

One mechanism serves every route: moments per sample and channel (the only reduction over pixels), a merge over the
samples of each population, and one affine pass. What lies between the two passes is bookkeeping on ``(N, C)``.
"""

from renorm.functional import passes
from renorm.functional.adain import adain
from renorm.functional.colors import match_colors
from renorm.functional.exchange import check_over, exchange_moments, mix_moments, moment_shortcut, pono
from renorm.functional.moments import (
    Moments,
    all_merge,
    at_least_float32,
    batch_moments,
    instance_moments,
    merge,
    moments,
    pool,
    positions,
    unbiased,
)
from renorm.functional.norm import (
    Affine,
    block_norm,
    branch_norm,
    compose_affine,
    factor_affine,
    fixed_norm,
    native_fixed_norm,
    native_norm,
)

__all__ = [
    "Affine",
    "Moments",
    "adain",
    "all_merge",
    "at_least_float32",
    "batch_moments",
    "block_norm",
    "branch_norm",
    "check_over",
    "compose_affine",
    "exchange_moments",
    "factor_affine",
    "fixed_norm",
    "instance_moments",
    "match_colors",
    "merge",
    "mix_moments",
    "moment_shortcut",
    "moments",
    "native_fixed_norm",
    "native_norm",
    "passes",
    "pono",
    "pool",
    "positions",
    "unbiased",
]
