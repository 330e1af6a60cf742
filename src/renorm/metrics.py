"""What a classifier's logits are worth: accuracy, likelihood, calibration, and how sure we can be of them."""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from renorm.extras import require

NUM_RESAMPLES = 1000
NUM_BINS = 15
CHUNK = 2**20  # values drawn at once


class Interval(NamedTuple):
    """A mean over images and the ends of its confidence interval."""

    value: float
    low: float
    high: float

    def __format__(self, spec: str) -> str:
        """Format the three numbers by one spec, for instance ``.1%``."""
        return f"{self.value:{spec}} [{self.low:{spec}}, {self.high:{spec}}]"


def correct(logits: Tensor, labels: Tensor) -> Tensor:
    """Tell for each image whether its highest logit is its label. Shape: ``(N, C), (N,) -> (N,)`` of bool."""
    _check(logits, labels)
    return logits.argmax(1) == labels


def accuracy(logits: Tensor, labels: Tensor) -> float:
    """Share of images whose highest logit is their label, in 0..1."""
    return correct(logits, labels).double().mean().item()


def nll(logits: Tensor, labels: Tensor) -> float:
    """Mean negative log-likelihood of the labels, in nats."""
    _check(logits, labels)
    return F.cross_entropy(logits.double(), labels).item()


def ece(logits: Tensor, labels: Tensor, num_bins: int = NUM_BINS) -> float:
    r"""Expected calibration error: :math:`\sum_b \frac{n_b}{N} |\mathrm{accuracy}_b - \mathrm{confidence}_b|`, in 0..1.

    Bins have equal width; a confidence of exactly 1 belongs to the last one.

    Reference: Guo et al., *On Calibration of Modern Neural Networks*, ICML 2017, eq. 3.
    """
    functional = require("torchmetrics.functional.classification")
    _check(logits, labels)
    # torchmetrics 1.9 rounds to float32 and gives 1.0 a bin of its own; delete the clamp when it no longer does.
    probabilities = logits.double().softmax(1).clamp(max=1 - 2**-24)
    return functional.multiclass_calibration_error(probabilities, labels, logits.shape[1], n_bins=num_bins).item()


def bootstrap(
    values: Tensor, generator: torch.Generator, *, level: float = 0.95, num_resamples: int = NUM_RESAMPLES
) -> Interval:
    """Mean of one value per image with its percentile bootstrap interval: images are drawn again, with replacement.

    Shape: ``(N,)``.

    Args:
        values: What each image contributed, for instance :func:`correct`.
        generator: Draws the resamples; the same seed gives the same interval.
        level: The probability that the interval covers, in 0..1.
        num_resamples: How often all images are drawn again.

    Raises:
        ValueError: If there are no values, or more than one per image.

    Reference: Efron & Tibshirani, *An Introduction to the Bootstrap*, 1993, ch. 13.

    Example:
        >>> ten = torch.tensor([1.0] * 8 + [0.0] * 2)
        >>> bootstrap(ten, torch.Generator().manual_seed(0)).value
        0.8
    """
    if values.ndim != 1 or len(values) == 0:
        raise ValueError(
            f"cannot bootstrap values of shape {tuple(values.shape)}: one number per image is needed, of at least one "
            "image. Pass a vector such as metrics.correct(logits, labels)."
        )
    values = values.double().cpu()
    rows = max(1, CHUNK // len(values))
    means = torch.cat([_resampled_means(values, n, generator) for n in _parts(num_resamples, rows)])
    tail = (1 - level) / 2
    low, high = means.quantile(torch.tensor([tail, 1 - tail], dtype=means.dtype)).tolist()
    return Interval(values.mean().item(), low, high)


def paired_difference(a: Tensor, b: Tensor, generator: torch.Generator) -> Interval:
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
    return bootstrap(a.double() - b.double(), generator)


def _resampled_means(values: Tensor, rows: int, generator: torch.Generator) -> Tensor:
    return values[torch.randint(len(values), (rows, len(values)), generator=generator)].mean(1)


def _parts(total: int, size: int) -> list[int]:
    return [min(size, total - start) for start in range(0, total, size)]


def _check(logits: Tensor, labels: Tensor) -> None:
    if logits.ndim != 2 or labels.shape != logits.shape[:1] or len(labels) == 0:
        raise ValueError(
            f"logits of shape {tuple(logits.shape)} do not go with labels of shape {tuple(labels.shape)}: (N, classes) "
            "and (N,) with N > 0 are needed. Check that both come from the same batches."
        )
