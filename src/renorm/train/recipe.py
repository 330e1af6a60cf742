"""What the loop trains: some networks, an optimizer of its own for each part of them, and what a step does."""

import math
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from torch import Tensor, nn
from torch.optim import Optimizer

from renorm.train.checkpoint import Checkpoint, load_into
from renorm.train.devices import Processes

REMEDY = "Lower --rate, lengthen --warmup, or train with --precision no."


@dataclass(frozen=True)
class Plan:
    """How long to train, and what is written meanwhile.

    Args:
        epochs: Passes over the data.
        steps: Steps of one epoch.
        save_every: Steps between checkpoints; 0 saves at the end of each epoch only.
        trackers: Names of trackers that get the numbers of each epoch too.
    """

    epochs: int
    steps: int
    save_every: int = 0
    trackers: tuple[str, ...] = ()

    @property
    def total(self) -> int:
        """Steps of the whole run."""
        return self.epochs * self.steps


class Step(Protocol):
    """What is trained on at once."""

    @property
    def total(self) -> int:
        """Examples, over all processes."""
        ...


class Recipe(ABC):
    """A training program: all that the loop knows of what it trains.

    Attributes:
        networks: What trains, by name; the loop puts all of it into training mode. A checkpoint has a file for each.
        optimizers: By name; the loop gives each its rate, and keeps its state. Stepping them is the recipe's.
        processes: Those that train together.
        plan: How long.
    """

    networks: Mapping[str, nn.Module]
    optimizers: Mapping[str, Optimizer]
    processes: Processes
    plan: Plan

    @abstractmethod
    def rates(self, step: int) -> Mapping[str, float]:
        """The learning rate of each optimizer at a step, counted from 0."""

    @abstractmethod
    def batches(self, epoch: int, first: int) -> Iterable[Step]:
        """This process's batches of an epoch from the one numbered ``first`` on."""

    @abstractmethod
    def step(self, batch: Any) -> dict[str, float]:
        """Train on one batch and tell the numbers of all processes, means over its examples."""

    @abstractmethod
    def describe(self) -> dict[str, Any]:
        """What a reader of the weights must know, as JSON has it: under ``recipe`` its name, under ``config`` its options."""

    def finish(self) -> None:  # noqa: B027 nothing to do is usual
        """Make statistics ready to be validated and saved; all processes call it together."""

    @property
    def finished(self) -> bool:
        """Whether to stop at the end of an epoch, before the plan does; said by what a checkpoint gives back."""
        return False

    def validate(self) -> dict[str, float]:
        """Numbers of the networks as they are, at the end of an epoch; all processes call it together."""
        return {}

    def illustrate(self, folder: Path, epoch: int) -> None:  # noqa: B027 nothing to show is usual
        """Write pictures of what there is at the end of an epoch into the folder of the run; the main process calls it."""

    def weights(self) -> Mapping[str, Mapping[str, Tensor]]:
        """The tensors of each network that are used later, where averages are kept those."""
        return {name: network.state_dict() for name, network in self.networks.items()}

    def state(self) -> dict[str, Any]:
        """What else must be saved, beside the optimizers."""
        return {}

    def restore(self, saved: Checkpoint) -> None:
        """Take back the networks' tensors, and what :meth:`state` gave."""
        for name, network in self.networks.items():
            load_into(network, saved.weights[name])


def check_finite(loss: float, rate: float, remedy: str = REMEDY) -> None:
    """Stop before a loss that is no number reaches the weights.

    Args:
        loss: Of a step.
        rate: At which it was taken.
        remedy: What may help.

    Raises:
        FloatingPointError: If the loss is infinite or NaN.
    """
    if not math.isfinite(loss):
        raise FloatingPointError(
            f"the loss became {loss} at a learning rate of {rate:.3g}: a finite loss is needed, and training "
            f"has stopped; the last checkpoint is kept. {remedy}"
        )
