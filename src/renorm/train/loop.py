"""The one training loop: rates, steps, records, checkpoints. What a step does is the recipe's.

A run that was killed goes on from its newest checkpoint to the same numbers: batches depend on (seed, epoch, index)
only, rates on the step only, and everything else is in the checkpoint.
"""

import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import Tensor

from renorm.train import checkpoint
from renorm.train.checkpoint import Checkpoint
from renorm.train.devices import Processes
from renorm.train.recipe import Recipe, Step
from renorm.train.run import Run
from renorm.train.shards import divided, whole


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
    examples: int  # of this step, over all processes


Callback = Callable[[Event], None]
Listener = Callable[[dict[str, float]], None]


def train(
    recipe: Recipe,
    run: Run,
    *,
    resume: bool = False,
    callback: Callback | None = None,
    listener: Listener | None = None,
) -> Progress:
    """Train to the end of the recipe's plan. Only the main process writes.

    Args:
        recipe: What to train.
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
    while not _done(recipe, progress.step):
        record = _epoch(recipe, run, progress, callback)
        if listener:
            listener(record)
    return progress


def _done(recipe: Recipe, step: int) -> bool:
    between = step > 0 and step % recipe.plan.steps == 0
    return step >= recipe.plan.total or (between and recipe.finished)


def _epoch(recipe: Recipe, run: Run, progress: Progress, callback: Callback | None) -> dict[str, float]:
    for network in recipe.networks.values():
        network.train()
    plan = recipe.plan
    epoch, first = divmod(progress.step, plan.steps)
    started = then = time.perf_counter()
    for batch in recipe.batches(epoch, first):
        _step(recipe, progress, batch)
        now = time.perf_counter()
        if callback:
            callback(Event(progress.step, plan.total, progress.means, now - then, batch.total))
        then = now
        if plan.save_every and progress.step % plan.save_every == 0 and progress.step % plan.steps:
            recipe.finish()
            save(recipe, run, progress)
    return _finish_epoch(recipe, run, progress, then - started)


def _step(recipe: Recipe, progress: Progress, batch: Step) -> None:
    set_rates(recipe, progress.step)
    numbers = recipe.step(batch)
    progress.step += 1
    progress.num += batch.total
    progress.sums.update({name: number * batch.total for name, number in numbers.items()})


def set_rates(recipe: Recipe, step: int) -> None:
    """Give each optimizer its rate of a step."""
    for name, rate in recipe.rates(step).items():
        for group in recipe.optimizers[name].param_groups:
            group["lr"] = rate


def _finish_epoch(recipe: Recipe, run: Run, progress: Progress, seconds: float) -> dict[str, float]:
    recipe.finish()
    record = {"epoch": progress.step // recipe.plan.steps, "step": progress.step, **_rates(recipe, progress.step - 1)}
    record |= progress.means | recipe.validate() | {"seconds": round(seconds, 3)}
    if recipe.processes.main:
        recipe.illustrate(run.path, int(record["epoch"]))
        run.log(record)
        progress.metrics_bytes = run.metrics.stat().st_size
    progress.sums.clear()
    progress.num = 0
    save(recipe, run, progress)
    return record


def _rates(recipe: Recipe, step: int) -> dict[str, float]:
    """For a record: ``rate``, or ``rate/NAME`` of each of several optimizers."""
    rates = recipe.rates(step)
    return {f"rate/{name}" if len(rates) > 1 else "rate": rate for name, rate in rates.items()}


def save(recipe: Recipe, run: Run, progress: Progress) -> None:
    """Write a checkpoint, of whole tensors, though processes may have parts of them."""
    random, weights = _random_states(recipe.processes), whole(recipe.weights())
    optimizers = {name: whole(optimizer.state_dict()) for name, optimizer in recipe.optimizers.items()}
    if not recipe.processes.main:
        return
    state = {
        "optimizers": optimizers,
        "progress": {**vars(progress), "sums": dict(progress.sums)},
        "random": random,
        **recipe.state(),
    }
    checkpoint.save(run.checkpoint, progress.step, Checkpoint(weights, recipe.describe(), state))


def restore(recipe: Recipe, run: Run) -> Progress:
    """Put a recipe where its newest checkpoint was.

    Raises:
        ValueError: If it was written by another number of processes.
    """
    saved = checkpoint.load(run.checkpoint)
    _set_random_states(recipe.processes, saved.state["random"], run)
    recipe.restore(saved)
    for name, optimizer in recipe.optimizers.items():
        optimizer.load_state_dict(saved.state["optimizers"][name])
        for p, state in optimizer.state.items():
            for key, value in state.items():
                if isinstance(value, Tensor) and value.shape == p.shape:
                    state[key] = divided(value, p)
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
