"""What a model is worth with each bank, under each shift of the data."""

from renorm.evaluate.choices import TrainingImages, adapted, choose, usual
from renorm.evaluate.shifts import STANDARD, Shift, shifts
from renorm.evaluate.subject import Choice, Subject, logits
from renorm.evaluate.table import Row, evaluate, read_results, write_results

__all__ = [
    "STANDARD",
    "Choice",
    "Row",
    "Shift",
    "Subject",
    "TrainingImages",
    "adapted",
    "choose",
    "evaluate",
    "logits",
    "read_results",
    "shifts",
    "usual",
    "write_results",
]
