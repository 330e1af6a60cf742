"""What a model is worth with each bank, under each shift of the data."""

from renorm.banks import Choice
from renorm.evaluate import ranks
from renorm.evaluate.averages import (
    known_reference,
    lacking,
    listed,
    mean_accuracy,
    mean_corruption_error,
    mean_interval,
    per_image,
    relative_mean_corruption_error,
)
from renorm.evaluate.banks import SOURCE, Adapted, TrainingImages, choose, unknown, usual
from renorm.evaluate.compare import Difference, check_alike, differences, mean_difference, remarks
from renorm.evaluate.compare_measures import MeasureDifference, measure_differences
from renorm.evaluate.curve import Curve, curve_rows, forget_partial, make_curve, partial_under, write_curve
from renorm.evaluate.curve_points import CurvePlan, plan_curve
from renorm.evaluate.former import Former, free_name, read_former
from renorm.evaluate.judged import Judged, divide, judge
from renorm.evaluate.labelled import Labelled, check_labelled, label_images
from renorm.evaluate.measured import Measured, MeasuredTable
from renorm.evaluate.methods import USUAL_METHODS, Method
from renorm.evaluate.overview import check_standard, overview
from renorm.evaluate.predictions import PredictionChange, prediction_change
from renorm.evaluate.prepared import PartCallback, PartListener, PreparedTable
from renorm.evaluate.protocol import ImageSet, Protocol, describe, fingerprint, label, versions
from renorm.evaluate.reference import reference_of
from renorm.evaluate.results import CellKey, Results, Row, check_table_name, read_results, write_results
from renorm.evaluate.scores import check_classes, logits, outputs, validated
from renorm.evaluate.table import ShiftCallback, ShiftListener, evaluate
from renorm.models import Classifier

__all__ = [
    "SOURCE",
    "USUAL_METHODS",
    "Adapted",
    "CellKey",
    "Choice",
    "Classifier",
    "Curve",
    "CurvePlan",
    "Difference",
    "Former",
    "ImageSet",
    "Judged",
    "Labelled",
    "MeasureDifference",
    "Measured",
    "MeasuredTable",
    "Method",
    "PartCallback",
    "PartListener",
    "PredictionChange",
    "PreparedTable",
    "Protocol",
    "Results",
    "Row",
    "ShiftCallback",
    "ShiftListener",
    "TrainingImages",
    "check_alike",
    "check_classes",
    "check_labelled",
    "check_standard",
    "check_table_name",
    "choose",
    "curve_rows",
    "describe",
    "differences",
    "divide",
    "evaluate",
    "fingerprint",
    "forget_partial",
    "free_name",
    "judge",
    "known_reference",
    "label",
    "label_images",
    "lacking",
    "listed",
    "logits",
    "make_curve",
    "mean_accuracy",
    "mean_corruption_error",
    "mean_difference",
    "mean_interval",
    "measure_differences",
    "outputs",
    "overview",
    "partial_under",
    "per_image",
    "plan_curve",
    "prediction_change",
    "ranks",
    "read_former",
    "read_results",
    "reference_of",
    "relative_mean_corruption_error",
    "remarks",
    "unknown",
    "usual",
    "validated",
    "versions",
    "write_curve",
    "write_results",
]
