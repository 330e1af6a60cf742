"""What a classifier's logits are worth: accuracy, likelihood, calibration, corruption errors, and how sure we can be."""

from renorm.metrics.accuracy import Scores, accuracy, correct, joined, nll, scores
from renorm.metrics.corruption_error import alexnet, corruption_error, relative_corruption_error
from renorm.metrics.ece import calibration_error, ece
from renorm.metrics.intervals import Interval, bootstrap, bootstrap_columns, over_runs, paired_difference
from renorm.metrics.ranking import RankAgreement, better_third, kendall, rank_agreement, rank_difference, spearman

__all__ = [
    "Interval",
    "RankAgreement",
    "Scores",
    "accuracy",
    "alexnet",
    "better_third",
    "bootstrap",
    "bootstrap_columns",
    "calibration_error",
    "correct",
    "corruption_error",
    "ece",
    "joined",
    "kendall",
    "nll",
    "over_runs",
    "paired_difference",
    "rank_agreement",
    "rank_difference",
    "relative_corruption_error",
    "scores",
    "spearman",
]
