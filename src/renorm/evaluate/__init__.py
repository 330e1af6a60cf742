"""What a model is worth with each bank, under each shift of the data."""

from renorm.banks import Choice
from renorm.evaluate.averages import (
    known_reference,
    lacking,
    mean_accuracy,
    mean_corruption_error,
    mean_interval,
    per_image,
    relative_mean_corruption_error,
)
from renorm.evaluate.banks import SOURCE, Adapted, TrainingImages, choose, unknown, usual
from renorm.evaluate.compare import Difference, check_alike, differences, mean_difference
from renorm.evaluate.curve import Curve
from renorm.evaluate.curve_points import CurvePlan
from renorm.evaluate.former import Former, free_name, read_former
from renorm.evaluate.methods import Method
from renorm.evaluate.predictions import prediction_change
from renorm.evaluate.protocol import ImageSet, Protocol, describe
from renorm.evaluate.results import Cell, Results, Row, read_results, write_results
from renorm.evaluate.scores import check_classes, logits, outputs
from renorm.evaluate.table import evaluate
from renorm.models import Classifier

__all__ = [
    "SOURCE",
    "Adapted",
    "Cell",
    "Choice",
    "Classifier",
    "Curve",
    "CurvePlan",
    "Difference",
    "Former",
    "ImageSet",
    "Method",
    "Protocol",
    "Results",
    "Row",
    "TrainingImages",
    "check_alike",
    "check_classes",
    "choose",
    "describe",
    "differences",
    "evaluate",
    "free_name",
    "known_reference",
    "lacking",
    "logits",
    "mean_accuracy",
    "mean_corruption_error",
    "mean_difference",
    "mean_interval",
    "outputs",
    "per_image",
    "prediction_change",
    "read_former",
    "read_results",
    "relative_mean_corruption_error",
    "unknown",
    "usual",
    "write_results",
]
