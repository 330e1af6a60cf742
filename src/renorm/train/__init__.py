"""Training: one loop, the folder of a run, its checkpoints, and the processes that train together."""

from renorm.train import checkpoint
from renorm.train.average import Average
from renorm.train.batches import Key, Keys, Order, Share, num_batches
from renorm.train.checkpoint import Checkpoint
from renorm.train.devices import Processes, device_of, join, unsynchronized
from renorm.train.loop import Callback, Event, Listener, set_rates, train
from renorm.train.precision import autocast, scaler
from renorm.train.recipe import Plan, Recipe, Step, check_finite
from renorm.train.run import Run
from renorm.train.schedules import constant, half_cosine, inverse_decay, linear
from renorm.train.shards import gathered
from renorm.train.trackers import check_trackers, tracking

__all__ = [
    "Average",
    "Callback",
    "Checkpoint",
    "Event",
    "Key",
    "Keys",
    "Listener",
    "Order",
    "Plan",
    "Processes",
    "Recipe",
    "Run",
    "Share",
    "Step",
    "autocast",
    "check_finite",
    "check_trackers",
    "checkpoint",
    "constant",
    "device_of",
    "gathered",
    "half_cosine",
    "inverse_decay",
    "join",
    "linear",
    "num_batches",
    "scaler",
    "set_rates",
    "tracking",
    "train",
    "unsynchronized",
]
