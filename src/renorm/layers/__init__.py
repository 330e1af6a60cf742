"""Layers: parameters and routing. They call :mod:`renorm.functional`."""

from renorm.layers.adain import AdaIN, SandwichAdaIN
from renorm.layers.copies import BranchCopies
from renorm.layers.flat import FlatSite
from renorm.layers.norms import called, moves, moving, quantized, read_by_methods, read_by_parents, scripted
from renorm.layers.rows import extended, repeated, row_of
from renorm.layers.sandwich import SandwichBatchNorm
from renorm.layers.settings import SHARABLE, Sync, check_sandwich, check_share, check_unknown
from renorm.layers.site import HOOKS, Running, Site, carry_state, running, sites_of
from renorm.layers.split import SplitBatchNorm
from renorm.layers.statistics import borrowed_buffers, frozen_statistics

__all__ = [
    "HOOKS",
    "SHARABLE",
    "AdaIN",
    "BranchCopies",
    "FlatSite",
    "Running",
    "SandwichAdaIN",
    "SandwichBatchNorm",
    "Site",
    "SplitBatchNorm",
    "Sync",
    "borrowed_buffers",
    "called",
    "carry_state",
    "check_sandwich",
    "check_share",
    "check_unknown",
    "extended",
    "frozen_statistics",
    "moves",
    "moving",
    "quantized",
    "read_by_methods",
    "read_by_parents",
    "repeated",
    "row_of",
    "running",
    "scripted",
    "sites_of",
]
