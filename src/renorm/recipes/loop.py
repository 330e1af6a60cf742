"""The one training loop: rate, steps, records, checkpoints. What a step does is the recipe's.

A run that was killed goes on from its newest checkpoint to the same numbers: batches depend on (seed, epoch, index)
only, the rate on the step only, and everything else is in the checkpoint.
"""

import math
import time
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any, Protocol

import torch
from torch import nn

from renorm.recipes import checkpoint
from renorm.recipes.checkpoint import Checkpoint
from renorm.recipes.run import Run


@dataclass(frozen=True)
class Plan:
    """How long and how fast to train.

    Args:
        epochs: Passes over the data.
        steps: Steps of one epoch.
        rate: Highest learning rate.
        warmup: Epochs in which the rate grows linearly; then it falls as half a cosine to 0.
        save_every: Steps between checkpoints; 0 saves at the end of each epoch only.
    """

    epochs: int
    steps: int
    rate: float
    warmup: float = 0
    save_every: int = 0

    @property
    def total(self) -> int:
        """Steps of the whole run."""
        return self.epochs * self.steps

    def rate_at(self, step: int) -> float:
        """Learning rate of a step, counted from 0."""
        rising = min(round(self.warmup * self.steps), self.total - 1)
        if step < rising:
            return self.rate * (step + 1) / (rising + 1)
        return self.rate * 0.5 * (1 + math.cos(math.pi * (step - rising) / (self.total - rising)))


class Recipe(Protocol):
    """What the loop trains."""

    model: nn.Module
    optimizer: torch.optim.Optimizer

    def batches(self, epoch: int, first: int) -> Iterable[Any]:
        """The batches of an epoch from the one numbered ``first`` on."""
        ...

    def step(self, batch: Any) -> dict[str, float]:
        """Train on one batch and tell its numbers, ``loss`` among them."""
        ...

    def validate(self) -> dict[str, float]:
        """Numbers of the model as it is, at the end of an epoch."""
        ...

    def describe(self) -> dict[str, Any]:
        """What a reader of the weights must know."""
        ...


@dataclass
class Progress:
    """How far a run is; all of it is in the checkpoint."""

    step: int = 0
    sums: Counter[str] = field(default_factory=Counter)  # since the epoch began
    num: int = 0  # steps in the sums
    metrics_bytes: int = 0

    @property
    def means(self) -> dict[str, float]:
        """Numbers of this epoch so far."""
        return {name: total / self.num for name, total in self.sums.items()} if self.num else {}


@dataclass(frozen=True)
class Event:
    """What a callback is told after a step."""

    step: int
    total: int
    means: dict[str, float]
    seconds: float  # of this step, waiting for its data included


Callback = Callable[[Event], None]


def train(recipe: Recipe, plan: Plan, run: Run, resume: bool = False, callback: Callback | None = None) -> Progress:
    """Train to the end of the plan.

    Args:
        recipe: What to train.
        plan: How long and how fast.
        run: Folder whose ``config.json`` is there already.
        resume: Whether to go on from the newest checkpoint, if there is one.
        callback: Told of each step.

    Raises:
        FloatingPointError: If a loss is not finite; the newest checkpoint stays.
    """
    progress = Progress()
    if resume and checkpoint.versions(run.checkpoint):
        progress = restore(recipe, run)
    elif resume:
        run.forget_after(0)
    recipe.model.train()
    while progress.step < plan.total:
        _epoch(recipe, plan, run, progress, callback)
    return progress


def _epoch(recipe: Recipe, plan: Plan, run: Run, progress: Progress, callback: Callback | None) -> None:
    epoch, first = divmod(progress.step, plan.steps)
    started = then = time.perf_counter()
    for batch in recipe.batches(epoch, first):
        _step(recipe, plan, progress, batch)
        now = time.perf_counter()
        if callback:
            callback(Event(progress.step, plan.total, progress.means, now - then))
        then = now
        if plan.save_every and progress.step % plan.save_every == 0 and progress.step % plan.steps:
            save(recipe, run, progress)
    _finish_epoch(recipe, plan, run, progress, then - started)


def _step(recipe: Recipe, plan: Plan, progress: Progress, batch: Any) -> None:
    for group in recipe.optimizer.param_groups:
        group["lr"] = plan.rate_at(progress.step)
    numbers = recipe.step(batch)
    progress.step += 1
    progress.num += 1
    progress.sums.update(numbers)


def _finish_epoch(recipe: Recipe, plan: Plan, run: Run, progress: Progress, seconds: float) -> None:
    record = {"epoch": progress.step // plan.steps, "step": progress.step, "rate": plan.rate_at(progress.step - 1)}
    record |= progress.means | recipe.validate()
    run.log(record | {"seconds": round(seconds, 3)})
    progress.sums.clear()
    progress.num = 0
    progress.metrics_bytes = run.metrics.stat().st_size
    save(recipe, run, progress)
    recipe.model.train()


def save(recipe: Recipe, run: Run, progress: Progress) -> None:
    """Write a checkpoint."""
    state = {
        "optimizer": recipe.optimizer.state_dict(),
        "progress": {**vars(progress), "sums": dict(progress.sums)},
        "random": {"cpu": torch.get_rng_state(), "cuda": torch.cuda.get_rng_state_all()},
    }
    saved = Checkpoint(recipe.model.state_dict(), recipe.describe(), state)
    checkpoint.save(run.checkpoint, progress.step, saved)


def restore(recipe: Recipe, run: Run) -> Progress:
    """Put a recipe where its newest checkpoint was."""
    saved = checkpoint.load(run.checkpoint)
    recipe.model.load_state_dict(saved.weights)
    recipe.optimizer.load_state_dict(saved.state["optimizer"])
    torch.set_rng_state(saved.state["random"]["cpu"])
    if len(saved.state["random"]["cuda"]) == torch.cuda.device_count():
        torch.cuda.set_rng_state_all(saved.state["random"]["cuda"])
    values = saved.state["progress"]
    progress = Progress(**{**values, "sums": Counter(values["sums"])})
    run.forget_after(progress.metrics_bytes)
    return progress


def check_finite(loss: torch.Tensor, step_rate: float) -> None:
    """Stop before a loss that is no number reaches the weights.

    Raises:
        FloatingPointError: If the loss is infinite or NaN.
    """
    if not torch.isfinite(loss):
        raise FloatingPointError(
            f"the loss became {loss.item()} at a learning rate of {step_rate:.3g}: a finite loss is needed, and training "
            "has stopped; the last checkpoint is kept. Lower --rate, lengthen --warmup, or train with --precision no."
        )
