"""What a model is worth with each bank, under each shift of the data."""

from renorm.banks.choice import Choice
from renorm.evaluate.averages import (
    known_reference,
    lacking,
    mean_accuracy,
    mean_corruption_error,
    relative_mean_corruption_error,
)
from renorm.evaluate.banks import Adapted, TrainingImages, choose, unknown, usual
from renorm.evaluate.compare import Difference, differences, mean_difference
from renorm.evaluate.partial import PartialTable
from renorm.evaluate.protocol import ImageSet, Protocol, describe
from renorm.evaluate.results import Cell, Results, Row, read_results, write_results
from renorm.evaluate.scores import logits
from renorm.evaluate.table import evaluate
from renorm.models import Classifier

__all__ = [
    "Adapted",
    "Cell",
    "Choice",
    "Classifier",
    "Difference",
    "ImageSet",
    "PartialTable",
    "Protocol",
    "Results",
    "Row",
    "TrainingImages",
    "choose",
    "describe",
    "differences",
    "evaluate",
    "known_reference",
    "lacking",
    "logits",
    "mean_accuracy",
    "mean_corruption_error",
    "mean_difference",
    "read_results",
    "relative_mean_corruption_error",
    "unknown",
    "usual",
    "write_results",
]
