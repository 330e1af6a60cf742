"""Whether a classifier is as often right as it is sure: the expected calibration error."""

import torch
from torch import Tensor

from renorm.metrics.accuracy import scores

NUM_BINS = 15


def ece(logits: Tensor, labels: Tensor, num_bins: int = NUM_BINS) -> float:
    """Expected calibration error of logits, as :func:`calibration_error` defines it."""
    found = scores(logits, labels)
    return calibration_error(found.confidence, found.hits, num_bins)


def calibration_error(confidence: Tensor, hits: Tensor, num_bins: int = NUM_BINS) -> float:
    r"""Expected calibration error: :math:`\sum_b \frac{n_b}{N} |\mathrm{accuracy}_b - \mathrm{confidence}_b|`, in 0..1.

    Bins have equal width; a confidence of exactly 1 belongs to the last one.

    Shape: ``(N,), (N,)``.

    Args:
        confidence: Probability of the predicted class.
        hits: Whether the prediction is right.
        num_bins: How many bins.

    Reference: Guo et al., *On Calibration of Modern Neural Networks*, ICML 2017, eq. 3.
    """
    sure = confidence.double()
    bins = (sure * num_bins).long().clamp(max=num_bins - 1)
    gaps = torch.bincount(bins, hits.double() - sure, num_bins)
    return (gaps.abs().sum() / len(sure)).item()
