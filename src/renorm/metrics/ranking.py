"""How well one number orders what another one orders: Kendall's tau-b, Spearman's rho, and how sure both are."""

from typing import NamedTuple

import torch
from torch import Tensor

from renorm.metrics.intervals import LEVEL, NUM_RESAMPLES, Interval, percentiles, resample_counts

FEWEST = 30  # of which an interval is told: fewer resample to the same few orders
PAIRS = 2**22  # whose signs are held at once


class RankAgreement(NamedTuple):
    """Both correlations of two orders, or the differences of both, with their intervals.

    Args:
        kendall: Tau-b.
        spearman: Rho.
        num_ranked: How many things were ranked.
    """

    kendall: Interval
    spearman: Interval
    num_ranked: int


def kendall(predicted: Tensor, truth: Tensor) -> float:
    r"""Kendall's tau-b: the share of pairs in the same order less that in the opposite one, pairs that tie left out.

    .. math:: \tau_b = \frac{\sum_{i,j} \sigma^a_{ij} \sigma^b_{ij}}
        {\sqrt{\sum_{i,j} |\sigma^a_{ij}| \sum_{i,j} |\sigma^b_{ij}|}}, \qquad \sigma^a_{ij} = \mathrm{sign}(a_j - a_i)

    Shape: ``(N,), (N,)``.

    Raises:
        ValueError: If the two differ in length, one of them holds one value only, or a number that is not finite.

    Reference: Kendall, *The Treatment of Ties in Ranking Problems*, Biometrika, 1945.

    Example:
        >>> kendall(torch.tensor([1.0, 2.0, 2.0, 3.0]), torch.tensor([10.0, 20.0, 30.0, 40.0])) # doctest: +ELLIPSIS
        0.912870929175...
    """
    return _both(*_checked(predicted, truth))[0]


def spearman(predicted: Tensor, truth: Tensor) -> float:
    r"""Spearman's rho: the correlation of ranks, of which those that tie have their mean.

    .. math:: \rho = \frac{\sum_j r^a_j r^b_j}{\sqrt{\sum_j (r^a_j)^2 \sum_j (r^b_j)^2}},
        \qquad r^a_j = \tfrac12 \sum_i \mathrm{sign}(a_j - a_i)

    where :math:`r` are ranks less their mean.

    Shape: ``(N,), (N,)``.

    Raises:
        ValueError: As :func:`kendall`.

    Reference: Spearman, *The Proof and Measurement of Association between Two Things*, American Journal of Psychology, 1904.

    Example:
        >>> spearman(torch.tensor([1.0, 2.0, 2.0, 3.0]), torch.tensor([10.0, 20.0, 30.0, 40.0])) # doctest: +ELLIPSIS
        0.948683298050...
    """
    return _both(*_checked(predicted, truth))[1]


def rank_agreement(
    predicted: Tensor, truth: Tensor, seed: int = 0, *, level: float = LEVEL, num_resamples: int = NUM_RESAMPLES
) -> RankAgreement:
    """Both correlations with percentile bootstrap intervals: what was ranked is drawn again, with replacement.

    A thing drawn twice ties with itself in both orders, and such a pair is left out like any that ties in both.

    Shape: ``(N,), (N,)`` with N of at least 30.

    Args:
        seed: Of the resamples: the same ones for equally many things, so that intervals of one seed go together.
        level: The probability that the intervals cover, in 0..1.
        num_resamples: How often all are drawn again.

    Raises:
        ValueError: As :func:`kendall`; also for fewer than 30 things, and where some resample holds one value only.

    Reference: Efron & Tibshirani, *An Introduction to the Bootstrap*, 1993, ch. 13.

    Example:
        >>> found = rank_agreement(torch.arange(40.0), torch.arange(40.0))
        >>> f"{found.kendall:.2f}"
        '1.00 [1.00, 1.00]'
    """
    a, b = _checked(predicted, truth, FEWEST)
    return _agreement(_both(a, b), _resampled(a, b, seed, num_resamples), level, len(a))


def rank_difference(
    first: Tensor, second: Tensor, truth: Tensor, seed: int = 0, *, num_resamples: int = NUM_RESAMPLES
) -> RankAgreement:
    """How much better ``first`` orders than ``second``, both of the same things: differences of the two correlations.

    Both sides share their resamples, which makes the 95 % intervals narrower than two separate ones.

    Shape: ``(N,), (N,), (N,)`` with N of at least 30.

    Raises:
        ValueError: As :func:`rank_agreement`.
    """
    sides = [_checked(each, truth, FEWEST) for each in (first, second)]
    (tau, rho), (other_tau, other_rho) = (_both(*side) for side in sides)
    drawn, other_drawn = (_resampled(*side, seed, num_resamples) for side in sides)
    return _agreement((tau - other_tau, rho - other_rho), drawn - other_drawn, LEVEL, len(truth))


def better_third(truth: Tensor) -> Tensor:
    """Which are the better third, where orders are hardest to tell; all that tie with the last of it are in it.

    Shape: ``(N,) -> (N,)`` of bool.

    Example:
        >>> better_third(torch.tensor([93.0, 10.0, 54.0, 94.0, 91.0, 93.0]))
        tensor([ True, False, False,  True, False,  True])
    """
    return truth >= truth.sort(descending=True).values[(len(truth) - 1) // 3]


def _agreement(values: tuple[float, float], resampled: Tensor, level: float, num_ranked: int) -> RankAgreement:
    tau, rho = percentiles(values, resampled, level)
    return RankAgreement(tau, rho, num_ranked)


def _both(a: Tensor, b: Tensor) -> tuple[float, float]:
    tau, rho = _correlations(a, b, torch.ones(1, len(a)))[0].tolist()
    return tau, rho


def _resampled(a: Tensor, b: Tensor, seed: int, num_resamples: int) -> Tensor:
    found = _correlations(a, b, resample_counts(len(a), seed, num_resamples).float())
    if not found.isfinite().all():
        raise ValueError(
            f"almost all of {len(a)} values to rank are equal, so that drawing them again gives one value only. Values that "
            "differ are needed for an interval. Rank more of them, or measure them on more images."
        )
    return found


def _correlations(a: Tensor, b: Tensor, counts: Tensor) -> Tensor:
    """Tau and rho of each resample, in which thing i appears ``counts[:, i]`` times. Shape: ``(R, N) -> (R, 2)``.

    Counts times signs are twice the centered ranks. All are whole numbers below 2^24, so float32 adds them exactly.
    """
    sums = torch.zeros(6, len(counts), dtype=torch.float64)
    for block in torch.arange(len(a)).split(max(1, PAIRS // len(a))):
        signs_a, signs_b = ((x[None, block] - x[:, None]).sign().float() for x in (a, b))
        ranks_a, ranks_b = ((counts @ signs).double() for signs in (signs_a, signs_b))
        same, untied_a, untied_b = (counts @ pairs for pairs in (signs_a * signs_b, signs_a.abs(), signs_b.abs()))
        terms = [same, untied_a, untied_b, ranks_a * ranks_b, ranks_a**2, ranks_b**2]
        sums += torch.stack([(counts[:, block].double() * each).sum(1) for each in terms])
    return torch.stack([sums[0] / (sums[1] * sums[2]).sqrt(), sums[3] / (sums[4] * sums[5]).sqrt()], 1)


def _checked(predicted: Tensor, truth: Tensor, fewest: int = 2) -> tuple[Tensor, Tensor]:
    if predicted.ndim != 1 or predicted.shape != truth.shape or len(truth) < fewest:
        raise ValueError(
            f"orders of shape {tuple(predicted.shape)} and {tuple(truth.shape)} were given. One number for each of the same "
            f"things is needed on both sides, of at least {fewest} things{' for an interval' * (fewest > 2)}. "
            "Rank more of them, and give both in one order."
        )
    sides = {"predicted": predicted.detach().double().cpu(), "true": truth.detach().double().cpu()}
    for name, side in sides.items():
        if not side.isfinite().all() or bool((side == side[0]).all()):
            raise ValueError(
                f"the {len(side)} {name} values {_some(side)} order nothing. Finite numbers are needed that are not all equal. "
                "Leave out what failed, and check that the right column was read."
            )
    return sides["predicted"], sides["true"]


def _some(values: Tensor, number: int = 3) -> str:
    return ", ".join(f"{value:g}" for value in values[:number].tolist()) + ", ..." * (len(values) > number)
