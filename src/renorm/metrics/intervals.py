"""How sure a mean is: bootstrap intervals over images, and Student's over runs."""

import math
from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

import torch
from torch import Tensor

from renorm.extras import require

NUM_RESAMPLES = 1000
LEVEL = 0.95
CHUNK = 2**20  # images drawn at once
APART = 0x9E3779B1  # between the seeds of separate sets of images; the generator takes 32 bits


class Interval(NamedTuple):
    """A mean and the ends of its confidence interval."""

    value: float
    low: float
    high: float

    @property
    def sure(self) -> bool:
        """Whether it leaves out 0."""
        return self.low > 0 or self.high < 0

    def __format__(self, spec: str) -> str:
        """Format the three numbers by one spec, for instance ``.1%``."""
        return f"{self.value:{spec}} [{self.low:{spec}}, {self.high:{spec}}]"


def bootstrap(
    values: Tensor | Sequence[Tensor],
    seed: int = 0,
    *,
    level: float = LEVEL,
    num_resamples: int = NUM_RESAMPLES,
) -> Interval:
    """Mean of one value per image with its percentile bootstrap interval: images are drawn again, with replacement.

    Of several vectors, each over images of its own, the means are added, and each set of images is drawn by itself.

    Shape: ``(N,)`` each.

    Args:
        values: What each image contributed, for instance :func:`correct`.
        seed: Of the resamples: the same ones for equally many images, so that intervals of one seed go together.
        level: The probability that the interval covers, in 0..1.
        num_resamples: How often all images are drawn again.

    Raises:
        ValueError: If there are no values, or more than one per image.

    Reference: Efron & Tibshirani, *An Introduction to the Bootstrap*, 1993, ch. 13.

    Example:
        >>> ten = torch.tensor([1.0] * 8 + [0.0] * 2)
        >>> bootstrap(ten).value
        0.8
    """
    vectors = [values] if isinstance(values, Tensor) else list(values)
    if not vectors or any(vector.ndim != 1 or len(vector) == 0 for vector in vectors):
        shapes = ", ".join(str(tuple(vector.shape)) for vector in vectors) or "none"
        raise ValueError(
            f"cannot bootstrap values of shape {shapes}: one number per image is "
            "needed, of at least one image. Pass a vector such as metrics.correct(logits, labels)."
        )
    columns = [vector.double().cpu()[:, None] for vector in vectors]
    seeds = [seed + APART * number for number in range(len(columns))]
    means = torch.stack([resampled_means(*each, num_resamples) for each in zip(columns, seeds, strict=True)]).sum(0)
    value = sum(column.mean().item() for column in columns)
    return percentiles([value], means, level)[0]


def bootstrap_columns(
    values: Tensor, seed: int = 0, *, level: float = LEVEL, num_resamples: int = NUM_RESAMPLES
) -> list[Interval]:
    """The interval of each column of values over the same images, all from the same resamples. Shape: ``(N, K)``."""
    if values.ndim != 2 or not values.numel():
        raise ValueError(
            f"cannot bootstrap the columns of shape {tuple(values.shape)}: (images, columns) with at least one of each is "
            "needed. Stack vectors of one value per image in dimension 1."
        )
    # Small whole numbers, such as hits and their differences, float32 adds exactly and twice as fast.
    small = values.dtype in (torch.bool, torch.int8, torch.uint8) and len(values) * 255 < 2**24
    values = values.cpu().to(torch.float32 if small else torch.float64)
    means = resampled_means(values, seed, num_resamples)
    return percentiles(values.double().mean(0).tolist(), means, level)


def paired_difference(a: Tensor, b: Tensor, seed: int = 0) -> Interval:
    """Mean of ``a - b`` with its 95 % interval, where both were measured on the same images in the same order.

    Much narrower than two separate intervals, as images hard for one model are hard for the other.

    Raises:
        ValueError: If the two differ in length.
    """
    if a.shape != b.shape:
        raise ValueError(
            f"{len(a)} values cannot be paired with {len(b)}: a paired difference needs both from the same images. "
            "Evaluate both sides on one list of images."
        )
    return bootstrap(a.double() - b.double(), seed)


def over_runs(values: Sequence[float], level: float = LEVEL) -> Interval:
    r"""Mean over runs (seeds) with Student's interval, :math:`\bar x \pm t_{n-1} \, s / \sqrt n`.

    A single run tells nothing of the spread: its interval is the whole line.

    Args:
        values: One number per run.
        level: The probability that the interval covers, in 0..1.

    Raises:
        ValueError: If there is no run, or a number is not finite.

    Reference: Student, *The Probable Error of a Mean*, Biometrika, 1908.

    Example:
        >>> print(f"{over_runs([90.0, 91.0, 92.0]):.2f}")
        91.00 [88.52, 93.48]
    """
    x = torch.tensor(list(values), dtype=torch.float64)
    if not len(x) or not x.isfinite().all():
        raise ValueError(
            f"cannot average the runs {list(values)}: at least one finite number is needed. Leave out runs that failed."
        )
    mean = x.mean().item()
    if len(x) == 1:
        return Interval(mean, -math.inf, math.inf)
    quantile = float(require("scipy.stats").t.ppf((1 + level) / 2, len(x) - 1))
    half = quantile * x.std().item() / math.sqrt(len(x))
    return Interval(mean, mean - half, mean + half)


def resampled_means(values: Tensor, seed: int = 0, num_resamples: int = NUM_RESAMPLES) -> Tensor:
    """Means of each column over images drawn again. Shape: ``(N, K) -> (num_resamples, K)``, float64.

    How often each image is drawn is counted, and the counts are multiplied with all columns at once.
    """
    counts = resample_counts(len(values), seed, num_resamples).split(max(1, CHUNK // len(values)))
    return torch.cat([(part.to(values.dtype) @ values).double() for part in counts]) / len(values)


@lru_cache(maxsize=2)
def resample_counts(n: int, seed: int, num_resamples: int) -> Tensor:
    """How often each of n images is drawn in each resample; that one is drawn 256 times does not happen."""
    generator, rows = torch.Generator().manual_seed(seed), max(1, CHUNK // n)
    parts = []
    for start in range(0, num_resamples, rows):
        size = min(rows, num_resamples - start)
        drawn = torch.randint(n, (size, n), generator=generator) + n * torch.arange(size)[:, None]
        parts.append(torch.bincount(drawn.flatten(), minlength=size * n).view(size, n).to(torch.uint8))
    return torch.cat(parts)


def percentiles(values: Sequence[float], means: Tensor, level: float) -> list[Interval]:
    """Intervals that leave out equally many resamples on either side. Shape of ``means``: ``(num_resamples, K)``."""
    tail = (1 - level) / 2
    low, high = means.quantile(torch.tensor([tail, 1 - tail], dtype=means.dtype), dim=0)
    return [Interval(*each) for each in zip(values, low.tolist(), high.tolist(), strict=True)]
