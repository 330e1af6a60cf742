"""Layers: parameters and routing. They call :mod:`renorm.functional`."""

from renorm.layers.adain import AdaIN, SandwichAdaIN
from renorm.layers.copies import BranchCopies
from renorm.layers.sandwich import ConditionalBatchNorm, SandwichBatchNorm
from renorm.layers.split import SplitBatchNorm

__all__ = ["AdaIN", "BranchCopies", "ConditionalBatchNorm", "SandwichAdaIN", "SandwichBatchNorm", "SplitBatchNorm"]
