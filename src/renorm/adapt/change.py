"""Whether new images look like those before: a test of two samples of images with a known rate of false alarms."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

from renorm.adapt.memory import Look, Weights, fading
from renorm.functional import Moments

MOST_CHANNELS = 256  # of which a covariance is kept; more are thinned out evenly
RIDGE = 0.1  # of each description's own variance: enough to invert a covariance of 64 descriptions from 32 images
FAINT = 1e-3  # of the source variance: an image without contrast has a finite logarithm


class Change(NamedTuple):
    """How far two samples of images are apart, in standard deviations of images, and how often chance alone does that."""

    size: float
    probability: float


def look_of(images: Moments, source_var: Tensor, decay: float) -> Look:
    """How a batch looks: each image is described by every channel's mean and logarithm of standard deviation, the source's
    being 1. The last image is the newest. Shape: moments of ``(N, C)``, D = 2 C.
    """
    every = -(-images.mean.shape[1] // MOST_CHANNELS)
    unit = source_var.double()[::every].clamp(min=1e-12)
    mean = images.mean.double()[:, ::every] / unit.sqrt()
    spread = (images.var.double()[:, ::every] / unit + FAINT).log() / 2
    described = torch.cat([mean, spread], 1)
    w = fading(described, decay)
    average = (w * described).sum(0)
    away = described - average
    covariance = (w * away).T @ away
    return Look(average, covariance, torch.zeros_like(covariance))


def joined_looks(older: Look | None, newer: Look, share: float, *, one_block: bool = False) -> Look:
    """Two samples pooled exactly, the newer one having this share of the weight; see :func:`renorm.adapt.memory.joined`."""
    if older is None:
        return newer
    delta = newer.mean - older.mean
    cross = share * (1 - share) * torch.outer(delta, delta)
    mean, covariance, scatter = (a + share * (b - a) for a, b in zip(older, newer, strict=True))
    return Look(mean, covariance + cross, scatter if one_block else scatter + cross)


def change(older: Look, before: Weights, newer: Look, now: Weights) -> Change:
    r"""Compare two samples of images, of :math:`n_a` and :math:`n_b` effective ones and :math:`f = n_a + n_b - 2`.

    .. math:: F = \frac{f - t + 1}{f} \cdot \frac{\delta^T R^{-1} \delta}{t \, (1/n_a + 1/n_b)} \sim F(\nu, f - t + 1),
        \qquad R = S + 0.1 \operatorname{diag} S, \quad t = \operatorname{tr} R^{-1} S, \quad
        \nu = \frac{t^2}{\operatorname{tr} (R^{-1} S)^2}

    with :math:`\delta` the difference of means and S the pooled covariance. Without the ridge this is Hotelling's test; with
    it, it also holds for fewer images than descriptions, approximately. Where the means of earlier blocks scatter more than
    independent images would make them, as in a sorted stream, F is divided by that ratio.

    Returns:
        the size :math:`\sqrt{\delta^T R^{-1} \delta / t}`, less what chance adds, and the probability.

    Reference: Hotelling, *The generalization of Student's ratio*, 1931; Box, *Some theorems on quadratic forms*, 1954, for
    the degrees of freedom; Kish, *Survey sampling*, 1965, for the ratio.
    """
    degrees = before.effective + now.effective - 2
    noise = 1 / before.effective + 1 / now.effective
    pooled = older.covariance + now.effective / (degrees + 2) * (newer.covariance - older.covariance)
    pooled = pooled * ((degrees + 2) / degrees)
    gap, total, squared, blocks = _whitened(newer.mean - older.mean, pooled, older.scatter)
    if total < 1e-9:  # images without any difference: every change is one
        return Change(0.0, 1.0) if gap < 1e-9 else Change(math.inf, 0.0)
    free, rest = total**2 / squared, degrees - total + 1
    if rest < 1:
        return Change(0.0, 1.0)
    size = math.sqrt(max(gap / total - noise, 0.0))
    ratio = gap / (total * noise) * rest / degrees
    if before.layout > 1e-9 and blocks / before.layout > total:
        ratio *= total * before.layout / blocks
    return Change(size, tail(ratio, free, rest))


def _whitened(delta: Tensor, covariance: Tensor, scatter: Tensor) -> list[float]:
    """What the test needs under the ridged covariance, waiting for the device once."""
    ridge = covariance.diagonal() * RIDGE + 1e-12
    root = torch.linalg.cholesky(covariance + torch.diag(ridge))

    def both_sides(matrix: Tensor) -> Tensor:
        half = torch.linalg.solve_triangular(root, matrix, upper=False)
        return torch.linalg.solve_triangular(root, half.T, upper=False)

    z = torch.linalg.solve_triangular(root, delta[:, None], upper=False)
    white = both_sides(covariance)
    blocks = both_sides(scatter).trace()
    return torch.stack([z.square().sum(), white.trace(), white.square().sum(), blocks]).tolist()


def tail(ratio: float, numerator: float, denominator: float) -> float:
    """How often an F-distributed number is larger, by Paulson's approximation (1942).

    Example:
        >>> round(tail(4.0, 3, 30), 3)
        0.016
    """
    a, b, root = 2 / (9 * numerator), 2 / (9 * denominator), ratio ** (1 / 3)
    z = ((1 - b) * root - (1 - a)) / math.sqrt(b * root**2 + a)
    return 0.5 * math.erfc(z / math.sqrt(2))
