"""What logits, features and orders are worth - accuracy, calibration, distances of sets, ranks - and how sure we can be."""

from renorm.metrics.accuracy import Scores, accuracy, correct, fill_, nll, scores, unscored
from renorm.metrics.corruption_error import ALEXNET, alexnet, corruption_error, relative_corruption_error
from renorm.metrics.ece import calibration_error, ece
from renorm.metrics.frechet import frechet
from renorm.metrics.gradients import LayerGradients, compare_gradients, mean_gradients
from renorm.metrics.inception import inception_score
from renorm.metrics.intervals import Interval, bootstrap, bootstrap_columns, over_runs, paired_difference
from renorm.metrics.kid import kid, kid_parts
from renorm.metrics.neighbours import Neighbours, neighbours
from renorm.metrics.ranking import RankAgreement, better_third, kendall, rank_agreement, rank_difference, spearman
from renorm.metrics.signal import signal_to_noise

__all__ = [
    "ALEXNET",
    "Interval",
    "LayerGradients",
    "Neighbours",
    "RankAgreement",
    "Scores",
    "accuracy",
    "alexnet",
    "better_third",
    "bootstrap",
    "bootstrap_columns",
    "calibration_error",
    "compare_gradients",
    "correct",
    "corruption_error",
    "ece",
    "fill_",
    "frechet",
    "inception_score",
    "kendall",
    "kid",
    "kid_parts",
    "mean_gradients",
    "neighbours",
    "nll",
    "over_runs",
    "paired_difference",
    "rank_agreement",
    "rank_difference",
    "relative_corruption_error",
    "scores",
    "signal_to_noise",
    "spearman",
    "unscored",
]
