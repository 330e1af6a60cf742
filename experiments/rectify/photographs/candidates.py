"""Rules that say what a site is to normalize by, given 32 images: what the library had, published ones, and new ones.

All run in one forward, each site behind those that have moved already; those that look at the source's features first need
one more forward before. `s` is what the source keeps.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor


class Seen(NamedTuple):
    """What a site is given, ``(C,)`` each: the images' moments, the squares of their standard errors, the source's moments."""

    mean: Tensor
    var: Tensor
    mean_error: Tensor
    var_error: Tensor
    source_mean: Tensor
    source_var: Tensor
    eps: float
    samples: int
    depth: float  # 0 at the first site, 1 at the last

    @property
    def gap(self) -> Tensor:
        """Squared distance of means in source variances."""
        return (self.mean - self.source_mean).square() / (self.source_var + self.eps)

    @property
    def noise(self) -> Tensor:
        """What the gap is without a shift."""
        return self.mean_error / (self.source_var + self.eps)

    @property
    def log_var(self) -> Tensor:
        """Logarithm of the variance, of which a dead channel has one too."""
        return (self.var + self.eps).log()

    @property
    def log_error(self) -> Tensor:
        """Squared standard error of the logarithm."""
        return self.var_error / (self.var + self.eps).square()

    def times(self, log_ratio: Tensor) -> Tensor:
        """The source's variance times a ratio."""
        return ((self.source_var + self.eps) * log_ratio.exp() - self.eps).clamp(min=0)


@dataclass
class Before:
    """What is known before a draw is adapted to: each site's features under the source, and the same of reference images."""

    seen: list[Seen]
    reference: list[Seen]

    @property
    def weight(self) -> float:
        """The library's weight before this study."""
        gap, noise = (
            torch.stack([t.mean() for t in ts]) for ts in zip(*((s.gap, s.noise) for s in self.seen), strict=True)
        )
        excess = float((gap - noise).median())
        if excess <= 0 or gap.median() <= 2 * noise.median():
            return 1.0
        return 1 / (1 + 2 * math.sqrt(excess) * (self.seen[0].samples / 32) ** 0.25)


Moved = tuple[Tensor, Tensor]
Rule = Callable[[int, Seen], Moved]


def blend(seen: Seen, s: float | Tensor, *, mixture: bool = False) -> Moved:
    """The source's moments and the images', plain or as moments of the mixed population."""
    if isinstance(s, float) and s == 1:
        return seen.source_mean, seen.source_var
    mean = s * seen.source_mean + (1 - s) * seen.mean
    var = s * seen.source_var + (1 - s) * seen.var
    return mean, var + (s * (1 - s) * (seen.mean - seen.source_mean).square() if mixture else 0)


def soft(x: Tensor, t: Tensor) -> Tensor:
    """Nothing up to t, then less t."""
    return x.sign() * (x.abs() - t).clamp(min=0)


def garrote(x: Tensor, t: Tensor) -> Tensor:
    """Nothing up to t, then less and less of it (Breiman, 1995)."""
    return x * (1 - t.square() / x.square().clamp(min=1e-30)).clamp(min=0)


def beyond(seen: Seen, k: float, shrink: Callable[[Tensor, Tensor], Tensor] = soft) -> Moved:
    """How far means and variances are from the source's beyond k standard errors."""
    mean = shrink(seen.mean - seen.source_mean, k * seen.mean_error.sqrt())
    return mean, shrink(seen.var - seen.source_var, k * seen.var_error.sqrt())


def thresholded(seen: Seen, k: float, s: float, shrink: Callable[[Tensor, Tensor], Tensor] = soft) -> Moved:
    """Of what is beyond k standard errors, the share 1 - s."""
    mean, var = beyond(seen, k, shrink)
    return seen.source_mean + (1 - s) * mean, (seen.source_var + (1 - s) * var).clamp(min=0)


def by_site(k: float, slope: float = 2.0) -> Callable[[Before], Rule]:
    """Thresholds, and s = 1 / (1 + slope d) by the largest distance d of the sites so far, beyond its noise."""

    def make(before: Before) -> Rule:
        far: list[float] = []

        def rule(index: int, seen: Seen) -> Moved:
            far.append(max(0.0, float((seen.gap - seen.noise).mean())))
            return thresholded(seen, k, 1 / (1 + slope * math.sqrt(sorted(far)[len(far) // 2])))

        return rule

    return make


def bayes(s: float) -> Callable[[Before], Rule]:
    """Empirical Bayes: a site's shifts have a variance, its noise is known by channel; the posterior mean, of which 1 - s."""

    def make(before: Before) -> Rule:
        def rule(index: int, seen: Seen) -> Moved:
            shift = (seen.gap - seen.noise).mean().clamp(min=0)
            w = (1 - s) * shift / (shift + seen.noise).clamp(min=1e-30)
            ratio, noise = seen.log_var - (seen.source_var + seen.eps).log(), seen.log_error
            spread = (ratio.square() - noise).mean().clamp(min=0)
            v = (1 - s) * spread / (spread + noise).clamp(min=1e-30)
            return seen.source_mean + w * (seen.mean - seen.source_mean), seen.times(v * ratio)

        return rule

    return make


def layerwise(before: Before) -> Rule:
    """Su et al., AAAI 2024: s between 0 and 1/2, more where the site moved more; here only where the guard moves at all."""
    found = []
    for seen in before.seen:
        a, b = seen.source_var + 1e-5, seen.var + 1e-5
        square = (seen.mean - seen.source_mean).square()
        found.append(float((((a + square) / b + (b + square) / a) / 4 - 0.5).sum()))
    d = torch.tensor(found)
    z = (d - d.mean()) / d.std(correction=0).clamp(min=1e-12)
    s = ((z.clamp(-1, 1) + 1) / 4).tolist()
    still = before.weight == 1
    return lambda index, seen: blend(seen, 1.0 if still else s[index], mixture=True)


def dead_zone(times: float) -> Callable[[Before], Rule]:
    """The library's weight, but a site whose own gap is below so many times its noise keeps the source."""

    def make(before: Before) -> Rule:
        s = before.weight
        return lambda index, seen: blend(seen, s if seen.gap.mean() > times * seen.noise.mean() else 1.0)

    return make


def early(before: Before) -> Rule:
    """The library's weight in the middle, moving half as much again at the first site and half as much at the last."""
    s = before.weight
    return lambda index, seen: blend(seen, 1.0 if s == 1 else max(0.0, 1 - (1 - s) * (1.5 - seen.depth)))


def model_wide(k: float, times: float = 1.0) -> Callable[[Before], Rule]:
    """Thresholds, and for what is beyond them the library's weight, at so many times the distance."""

    def make(before: Before) -> Rule:
        s = before.weight
        s = s / (s + times * (1 - s))
        return lambda index, seen: thresholded(seen, k, s)

    return make


def thresholded_early(k: float) -> Callable[[Before], Rule]:
    """Thresholds, and s from a third at the first site to two thirds at the last."""
    return lambda before: lambda index, seen: thresholded(seen, k, (1 + seen.depth) / 3)


def difference(k: float, s: float) -> Callable[[Before], Rule]:
    """By the difference to reference images of the normal condition: means by difference, variances by ratio."""

    def make(before: Before) -> Rule:
        def rule(index: int, seen: Seen) -> Moved:
            home = before.reference[index]
            mean = soft(seen.mean - home.mean, k * (seen.mean_error + home.mean_error).sqrt())
            ratio = soft(seen.log_var - home.log_var, k * (seen.log_error + home.log_error).sqrt())
            return seen.source_mean + (1 - s) * mean, seen.times((1 - s) * ratio)

        return rule

    return make


def always(s: float) -> Callable[[Before], Rule]:
    """A fixed weight."""
    return lambda before: lambda index, seen: blend(seen, s)


def firm(x: Tensor, t: Tensor) -> Tensor:
    """Nothing up to t, all of it from 2 t on (Gao & Bruce, 1997)."""
    return x.sign() * torch.minimum(x.abs(), 2 * (x.abs() - t)).clamp(min=0)


def sure(x: Tensor, t: Tensor) -> Tensor:
    """The soft threshold, up to t, of the least unbiased estimate of risk over a site's channels (Donoho & Johnstone, 1995)."""
    z = (x / t.clamp(min=1e-30)).abs()
    tried = torch.linspace(0, 1, 13)[:, None]
    scale = 9.0  # squared standard errors in a threshold of three
    risk = len(z) - 2 * (z <= tried).sum(1) + scale * torch.minimum(z, tried).square().sum(1)
    return soft(x, t * tried[int(risk.argmin())])


def library(
    k: float, shrink: Callable[[Tensor, Tensor], Tensor] = soft, *, by_weight: bool = True, most: float = 0.5
) -> Callable[[Before], Rule]:
    """The library's rule now, s = min(1/2, 1 / (1 + 2 d)), thresholds of k standard errors times 2 s, or of k."""

    def make(before: Before) -> Rule:
        gap, noise = (
            torch.stack([t.mean() for t in ts]) for ts in zip(*((s.gap, s.noise) for s in before.seen), strict=True)
        )
        if gap.median() <= 2 * noise.median():
            return lambda index, seen: blend(seen, 1.0)
        s = min(most, 1 / (1 + 2 * math.sqrt(max(float((gap - noise).median()), 0.0))))
        times = k * s / most if by_weight else k
        return lambda index, seen: thresholded(seen, times, s, shrink)

    return make


def prior(size: float) -> Callable[[Before], Rule]:
    """A fixed prior."""
    return lambda before: lambda index, seen: blend(seen, size / (size + seen.samples))


def present(*, mixture: bool) -> Callable[[Before], Rule]:
    """The library's rule before this study."""

    def make(before: Before) -> Rule:
        s = before.weight
        return lambda index, seen: blend(seen, s, mixture=mixture)

    return make


def constant(k: float, s: float, shrink: Callable[[Tensor, Tensor], Tensor] = soft) -> Callable[[Before], Rule]:
    """Thresholds, and a constant share of what is beyond them."""
    return lambda before: lambda index, seen: thresholded(seen, k, s, shrink)


PRIORS = {f"prior {size}": prior(size) for size in (0, 16, 64, 128)}
RULES: dict[str, Callable[[Before], Rule]] = {
    "source": always(1.0),
    **PRIORS,
    "before": present(mixture=False),
    "soft 3, half": constant(3, 0.5),
    "soft 2, half": constant(2, 0.5),
    "soft 2, by site": by_site(2),
    "garrote 3, half": constant(3, 0.5, garrote),
    "soft 3, third": constant(3, 1 / 3),
    "garrote 3, third": constant(3, 1 / 3, garrote),
    "soft 2, by model": model_wide(2),
    "soft 3, twice by model": model_wide(3, 2),
    "soft 4, third": constant(4, 1 / 3),
    "soft 3, early": thresholded_early(3),
    "bayes, half": bayes(0.5),
    "bayes": bayes(0.0),
    "mixture": present(mixture=True),
    "early": early,
    "dead zone": dead_zone(3),
    "layer-wise, guarded": layerwise,
    "library": library(3),
    "library, soft 2": library(2, by_weight=False),
    "library, garrote": library(3, garrote, by_weight=False),
    "library, garrote 4": library(4, garrote, by_weight=False),
    "library, firm": library(3, firm, by_weight=False),
    "library, 3 errors": library(3, by_weight=False),
    "library, garrote by s": library(3, garrote),
    "library, sure": library(3, sure, by_weight=False),
    "difference, half": difference(0, 0.5),
    "difference, soft 2, half": difference(2, 0.5),
}
TWO_FORWARDS = {
    "before",
    "mixture",
    "early",
    "dead zone",
    "layer-wise, guarded",
    "soft 2, by model",
    "soft 3, twice by model",
    *(name for name in RULES if name.startswith("library")),
}
