"""Adapting a deployed model's statistics to unlabelled images: a few of them once, or a stream."""

from renorm.adapt.evidence import Evidence
from renorm.adapt.images import Adaptation, adapt_
from renorm.adapt.prediction import prediction_time
from renorm.adapt.stream import Adapter
from renorm.adapt.tent import Tent

__all__ = ["Adaptation", "Adapter", "Evidence", "Tent", "adapt_", "prediction_time"]
