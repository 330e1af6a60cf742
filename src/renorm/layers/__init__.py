"""Layers: parameters and routing. They call :mod:`renorm.functional`."""

from renorm.layers.adain import AdaIN, SandwichAdaIN
from renorm.layers.copies import BranchCopies
from renorm.layers.sandwich import SandwichBatchNorm
from renorm.layers.site import Running, Site, sites_of
from renorm.layers.split import SplitBatchNorm
from renorm.layers.statistics import frozen_statistics

__all__ = [
    "AdaIN",
    "BranchCopies",
    "Running",
    "SandwichAdaIN",
    "SandwichBatchNorm",
    "Site",
    "SplitBatchNorm",
    "frozen_statistics",
    "sites_of",
]
