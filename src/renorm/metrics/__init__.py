"""What a classifier's logits are worth: accuracy, likelihood, calibration, corruption errors, and how sure we can be."""

from renorm.metrics.intervals import Interval, bootstrap, bootstrap_columns, over_runs, paired_difference
from renorm.metrics.scores import Scores, accuracy, calibration_error, correct, ece, joined, nll, scores

__all__ = [
    "Interval",
    "Scores",
    "accuracy",
    "bootstrap",
    "bootstrap_columns",
    "calibration_error",
    "correct",
    "ece",
    "joined",
    "nll",
    "over_runs",
    "paired_difference",
    "scores",
]
