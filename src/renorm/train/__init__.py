"""Training: one loop, the folder of a run, its checkpoints, and the processes that train together."""

from renorm.train.average import Average, remeasure_
from renorm.train.batches import Key, Keys, Order, Share, num_batches
from renorm.train.board import board
from renorm.train.checkpoint import Checkpoint
from renorm.train.devices import Processes, branches_of, join, pool_statistics_, unsynchronized
from renorm.train.loop import Event, Plan, Recipe, check_finite, train
from renorm.train.run import Run

__all__ = [
    "Average",
    "Checkpoint",
    "Event",
    "Key",
    "Keys",
    "Order",
    "Plan",
    "Processes",
    "Recipe",
    "Run",
    "Share",
    "board",
    "branches_of",
    "check_finite",
    "join",
    "num_batches",
    "pool_statistics_",
    "remeasure_",
    "train",
    "unsynchronized",
]
