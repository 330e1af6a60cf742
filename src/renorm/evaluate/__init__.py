"""What a model is worth with each bank, under each shift of the data."""

from renorm.evaluate.choices import TrainingImages, adapted, choose, usual
from renorm.evaluate.compare import Difference, differences, mean_accuracy, mean_difference
from renorm.evaluate.protocol import ImageSet, Protocol
from renorm.evaluate.results import Cell, Results, Row, read_results, write_results
from renorm.evaluate.shifts import STANDARD, Shift, shifts
from renorm.evaluate.subject import Choice, Subject, logits
from renorm.evaluate.table import evaluate

__all__ = [
    "STANDARD",
    "Cell",
    "Choice",
    "Difference",
    "ImageSet",
    "Protocol",
    "Results",
    "Row",
    "Shift",
    "Subject",
    "TrainingImages",
    "adapted",
    "choose",
    "differences",
    "evaluate",
    "logits",
    "mean_accuracy",
    "mean_difference",
    "read_results",
    "shifts",
    "usual",
    "write_results",
]
