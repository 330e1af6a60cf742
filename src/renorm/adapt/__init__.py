"""Adapting a deployed model's statistics to unlabelled images: a few of them once, or a stream."""

from renorm.adapt.evidence import Evidence, evidence
from renorm.adapt.excess import Only
from renorm.adapt.images import Adaptation, Auto, adapt_
from renorm.adapt.prediction import prediction_time
from renorm.adapt.recentring import Recentring, recenter_
from renorm.adapt.reference import Reference
from renorm.adapt.stream import Adapter
from renorm.adapt.tent import Tent
from renorm.adapt.verdict import Judgement, Verdict, advice, judged

__all__ = [
    "Adaptation",
    "Adapter",
    "Auto",
    "Evidence",
    "Judgement",
    "Only",
    "Recentring",
    "Reference",
    "Tent",
    "Verdict",
    "adapt_",
    "advice",
    "evidence",
    "judged",
    "prediction_time",
    "recenter_",
]
