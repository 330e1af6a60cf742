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
from torch import Tensor, nn

from renorm.train import checkpoint
from renorm.train.checkpoint import Checkpoint
from renorm.train.devices import Processes
from renorm.train.run import Run


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


class Step(Protocol):
    """What is trained on at once."""

    @property
    def total(self) -> int:
        """Examples, over all processes."""
        ...


class Recipe(Protocol):
    """What the loop trains."""

    model: nn.Module
    optimizer: torch.optim.Optimizer
    processes: Processes

    def batches(self, epoch: int, first: int) -> Iterable[Step]:
        """This process's batches of an epoch from the one numbered ``first`` on."""
        ...

    def step(self, batch: Any) -> dict[str, float]:
        """Train on one batch and tell the numbers of all processes, means over its examples, ``loss`` among them."""
        ...

    def finish(self) -> None:
        """Make statistics ready to be validated and saved; all processes call it together."""
        ...

    def validate(self) -> dict[str, float]:
        """Numbers of the model as it is, at the end of an epoch; all processes call it together."""
        ...

    def weights(self) -> dict[str, Tensor]:
        """The tensors that are evaluated later."""
        ...

    def state(self) -> dict[str, Any]:
        """What else must be saved, beside the optimizer."""
        ...

    def restore(self, saved: Checkpoint) -> None:
        """Take back the weights, the optimizer's state and what :meth:`state` gave."""
        ...

    def describe(self) -> dict[str, Any]:
        """What a reader of the weights must know."""
        ...


@dataclass
class Progress:
    """How far a run is; all of it is in the checkpoint."""

    step: int = 0
    sums: Counter[str] = field(default_factory=Counter)  # since the epoch began
    num: int = 0  # examples in the sums
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
Listener = Callable[[dict[str, float]], None]


def train(
    recipe: Recipe,
    plan: Plan,
    run: Run,
    resume: bool = False,
    callback: Callback | None = None,
    listener: Listener | None = None,
) -> Progress:
    """Train to the end of the plan. Only the main process writes.

    Args:
        recipe: What to train.
        plan: How long and how fast.
        run: Folder whose ``config.json`` is there already.
        resume: Whether to go on from the newest checkpoint, if there is one.
        callback: Told of each step.
        listener: Told the record of each epoch.

    Raises:
        FloatingPointError: If a loss is not finite; the newest checkpoint stays.
        ValueError: If the run was trained by another number of processes.
    """
    progress = Progress()
    if resume and checkpoint.versions(run.checkpoint):
        progress = restore(recipe, run)
    elif resume and recipe.processes.main:
        run.forget_after(0)
    recipe.model.train()
    while progress.step < plan.total:
        record = _epoch(recipe, plan, run, progress, callback)
        if listener:
            listener(record)
    return progress


def _epoch(recipe: Recipe, plan: Plan, run: Run, progress: Progress, callback: Callback | None) -> dict[str, float]:
    epoch, first = divmod(progress.step, plan.steps)
    started = then = time.perf_counter()
    for batch in recipe.batches(epoch, first):
        _step(recipe, plan, progress, batch)
        now = time.perf_counter()
        if callback:
            callback(Event(progress.step, plan.total, progress.means, now - then))
        then = now
        if plan.save_every and progress.step % plan.save_every == 0 and progress.step % plan.steps:
            recipe.finish()
            save(recipe, run, progress)
    return _finish_epoch(recipe, plan, run, progress, then - started)


def _step(recipe: Recipe, plan: Plan, progress: Progress, batch: Step) -> None:
    for group in recipe.optimizer.param_groups:
        group["lr"] = plan.rate_at(progress.step)
    numbers = recipe.step(batch)
    progress.step += 1
    progress.num += batch.total
    progress.sums.update({name: number * batch.total for name, number in numbers.items()})


def _finish_epoch(recipe: Recipe, plan: Plan, run: Run, progress: Progress, seconds: float) -> dict[str, float]:
    recipe.finish()
    record = {"epoch": progress.step // plan.steps, "step": progress.step, "rate": plan.rate_at(progress.step - 1)}
    record |= progress.means | recipe.validate() | {"seconds": round(seconds, 3)}
    if recipe.processes.main:
        run.log(record)
        progress.metrics_bytes = run.metrics.stat().st_size
    progress.sums.clear()
    progress.num = 0
    save(recipe, run, progress)
    recipe.model.train()
    return record


def save(recipe: Recipe, run: Run, progress: Progress) -> None:
    """Write a checkpoint."""
    random = _random_states(recipe.processes)
    if not recipe.processes.main:
        return
    state = {
        "optimizer": recipe.optimizer.state_dict(),
        "progress": {**vars(progress), "sums": dict(progress.sums)},
        "random": random,
        **recipe.state(),
    }
    checkpoint.save(run.checkpoint, progress.step, Checkpoint(recipe.weights(), recipe.describe(), state))


def restore(recipe: Recipe, run: Run) -> Progress:
    """Put a recipe where its newest checkpoint was.

    Raises:
        ValueError: If it was written by another number of processes.
    """
    saved = checkpoint.load(run.checkpoint)
    _set_random_states(recipe.processes, saved.state["random"], run)
    recipe.restore(saved)
    values = saved.state["progress"]
    progress = Progress(**{**values, "sums": Counter(values["sums"])})
    if recipe.processes.main:
        run.forget_after(progress.metrics_bytes)
    return progress


def _random_states(processes: Processes) -> dict[str, Tensor]:
    """The state of torch's generators in each process, that of the CPU and that of its device."""
    states = {"cpu": processes.gather(torch.get_rng_state())}
    if processes.device.type == "cuda":
        states["cuda"] = processes.gather(torch.cuda.get_rng_state(processes.device))
    return states


def _set_random_states(processes: Processes, states: dict[str, Tensor], run: Run) -> None:
    found = torch.atleast_2d(states["cpu"])
    if len(found) != processes.count:
        raise ValueError(
            f"{run.path} was trained by {len(found)} processes, and {processes.count} would go on: as many are needed for "
            f"the same numbers. Start {len(found)} of them, by torchrun --nproc-per-node where they are several."
        )
    torch.set_rng_state(found[processes.rank].clone())  # torch 2.15 crashes on a view into larger memory
    if processes.device.type == "cuda" and len(states.get("cuda", ())):  # a run may have begun without a GPU
        torch.cuda.set_rng_state(states["cuda"][processes.rank].clone(), processes.device)


def check_finite(loss: float, step_rate: float) -> None:
    """Stop before a loss that is no number reaches the weights.

    Raises:
        FloatingPointError: If the loss is infinite or NaN.
    """
    if not math.isfinite(loss):
        raise FloatingPointError(
            f"the loss became {loss} at a learning rate of {step_rate:.3g}: a finite loss is needed, and training "
            "has stopped; the last checkpoint is kept. Lower --rate, lengthen --warmup, or train with --precision no."
        )
