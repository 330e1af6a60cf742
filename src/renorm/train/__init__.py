"""Training: one loop, the folder of a run, its checkpoints, and the processes that train together."""

from renorm.train.loop import train
from renorm.train.run import Run

__all__ = ["Run", "train"]
