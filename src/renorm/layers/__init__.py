"""Layers: parameters and routing. They call :mod:`renorm.functional`."""

from renorm.layers.copies import BranchCopies
from renorm.layers.split import SplitBatchNorm

__all__ = ["BranchCopies", "SplitBatchNorm"]
