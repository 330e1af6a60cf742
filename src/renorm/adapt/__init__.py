"""Adapting a deployed model's statistics to unlabelled images: a few of them once, or a stream."""

from renorm.adapt.evidence import Evidence, evidence
from renorm.adapt.images import Adaptation, Auto, Only, adapt_
from renorm.adapt.prediction import prediction_time
from renorm.adapt.reference import Reference
from renorm.adapt.stream import Adapter
from renorm.adapt.tent import Tent

__all__ = [
    "Adaptation",
    "Adapter",
    "Auto",
    "Evidence",
    "Only",
    "Reference",
    "Tent",
    "adapt_",
    "evidence",
    "prediction_time",
]
