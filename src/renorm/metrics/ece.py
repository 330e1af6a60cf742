"""Whether a classifier is as often right as it is sure: the expected calibration error."""

from torch import Tensor

from renorm.extras import require
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
    functional = require("torchmetrics.functional.classification")
    # torchmetrics 1.9 rounds to float32 and gives 1.0 a bin of its own; delete the clamp when it no longer does.
    confidence = confidence.double().clamp(max=1 - 2**-24)
    return functional.binary_calibration_error(confidence, hits.long(), n_bins=num_bins).item()
