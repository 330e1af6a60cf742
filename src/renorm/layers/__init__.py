"""Layers: parameters and routing. They call :mod:`renorm.functional`."""

from renorm.layers.copies import BranchCopies
from renorm.layers.sandwich import ConditionalBatchNorm, SandwichBatchNorm
from renorm.layers.split import SplitBatchNorm

__all__ = ["BranchCopies", "ConditionalBatchNorm", "SandwichBatchNorm", "SplitBatchNorm"]
