"""Processes that train together, started by ``torchrun`` or ``accelerate launch``."""

import os
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from inspect import signature
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from renorm.extras import require
from renorm.train.shards import shard_

# Whether every forward takes the main process's buffers; the name in torch 2.6 is deprecated in 2.15.
BUFFERS = next(
    name
    for name in ("forward_sync_buffers", "broadcast_buffers")
    if name in signature(DistributedDataParallel).parameters
)

# What `accelerate launch` asks for in the environment, and the option that means it here.
LAUNCHED = {
    "ACCELERATE_MIXED_PRECISION": "--precision",
    "ACCELERATE_DYNAMO_BACKEND": "--compile",
    "ACCELERATE_GRADIENT_ACCUMULATION_STEPS": "--accumulate",
    "ACCELERATE_USE_FSDP": "--shard",
    "ACCELERATE_USE_DEEPSPEED": "--shard",
    "ACCELERATE_USE_MEGATRON_LM": "--shard",
}
NOTHING = ("", "no", "false", "0", "1")  # asked for


@dataclass(frozen=True)
class Processes:
    """The processes of a training, of which this is one.

    Args:
        device: Where this one computes.
        rank: Its number.
        count: How many there are.
        joined: Whether this object started their communication, and ends it.
    """

    device: torch.device
    rank: int = 0
    count: int = 1
    joined: bool = False

    @property
    def main(self) -> bool:
        """Whether this is the one that writes files."""
        return self.rank == 0

    @property
    def launch(self) -> str:
        """What starts so many, before the name of the program; empty for one."""
        if self.count == 1:
            return ""
        local = int(os.environ.get("LOCAL_WORLD_SIZE", self.count))
        nodes = f"--nnodes {self.count // local} " if local < self.count else ""
        return f"torchrun {nodes}--nproc-per-node {local} -m "

    @contextmanager
    def main_first(self) -> Iterator[None]:
        """Let the main process run the block before the others, which then find what it fetched."""
        if self.count > 1 and not self.main:
            dist.barrier()
        try:
            yield
        finally:
            if self.count > 1 and self.main:
                dist.barrier()

    def sum(self, values: Tensor) -> Tensor:
        """The sum over processes, in place."""
        if self.count > 1:
            dist.all_reduce(values)
        return values

    def gather(self, values: Tensor) -> Tensor:
        """The values of every process, alike in shape, stacked, on the CPU."""
        found = [values.to(self.device)]
        if self.count > 1:
            mine, found = found[0], [torch.empty_like(found[0]) for _ in range(self.count)]
            dist.all_gather(found, mine)
        return torch.stack(found).cpu()

    def shard_(self, model: nn.Module) -> None:
        """Divide the model's parameters, gradients and what an optimizer keeps of them; before there is an optimizer."""
        shard_(model, self.device, self.count)

    def parallel(self, model: nn.Module) -> nn.Module:
        """The model whose gradients are averaged over processes; each keeps its own buffers."""
        if self.count == 1:
            return model
        options = require("accelerate").DistributedDataParallelKwargs(broadcast_buffers=False)
        options.to_kwargs = lambda: {BUFFERS: False}  # accelerate 1.15 has the name that torch 2.15 warns of
        with accelerating(self, kwargs_handlers=[options]) as accelerator:
            return accelerator.prepare(model, device_placement=[False])

    def leave(self) -> None:
        """End the communication."""
        if self.joined:
            dist.destroy_process_group()


def join(device: str | None = None) -> Processes:
    """Join the processes that the environment names, or those of a group that exists.

    Args:
        device: Where this process computes, as :func:`device_of` takes it; by default on an accelerator of its own if the
            machine has any.

    Raises:
        ValueError: If this machine has fewer devices than processes, or several would share one that is named; if
            ``accelerate launch`` was asked for what is an option here.
    """
    _check_launched()
    if device is None and os.environ.get("ACCELERATE_USE_CPU", "").lower() not in NOTHING:
        device = "cpu"
    count, local = int(os.environ.get("WORLD_SIZE", 1)), int(os.environ.get("LOCAL_RANK", 0))
    if count > 1 and device not in (None, "cpu"):
        raise ValueError(
            f"--device {device} for {count} processes: each needs a device of its own, and takes it. Leave it out, or name cpu."
        )
    return _joined(_device(local) if device is None else device_of(device), count)


def _check_launched() -> None:
    for name, option in LAUNCHED.items():
        if os.environ.get(name, "").lower() not in NOTHING:
            raise ValueError(
                f"accelerate launch set {name} to {os.environ[name]}: it only starts processes here, what they do is said by "
                f"options of renorm, so that a run tells it. Leave it out of the launch or its configuration; {option} means it."
            )


def _joined(device: torch.device, count: int) -> Processes:
    joined = count > 1 and not dist.is_initialized()
    if joined:
        dist.init_process_group("gloo" if device.type == "cpu" else None)
    if not dist.is_initialized():
        return Processes(device)
    return Processes(device, dist.get_rank(), dist.get_world_size(), joined)


def device_of(name: str) -> torch.device:
    """A device by its name: ``cpu``, ``cuda``, ``cuda:1``, ``mps``.

    Raises:
        ValueError: If there is no such device here.

    Example:
        >>> device_of("cpu")
        device(type='cpu')
    """
    there = ["cpu", *(f"cuda:{number}" for number in range(torch.cuda.device_count()))]
    there += ["mps"] if torch.backends.mps.is_available() else []
    if name not in there and not (name == "cuda" and "cuda:0" in there):
        raise ValueError(
            f"no device {name!r}: one of {', '.join(there)} is needed on this machine. Choose one of them."
        )
    return torch.device(name)


def _device(local: int) -> torch.device:
    kind = torch.accelerator.current_accelerator() if torch.accelerator.is_available() else None
    if kind is None:
        return torch.device("cpu")
    number = torch.accelerator.device_count()
    if local >= number:
        raise ValueError(
            f"process {local + 1} of this machine has no {kind.type} device of its own: there are {number}, and each process "
            f"needs one. Start {number}, or hide the devices to train on the CPU: CUDA_VISIBLE_DEVICES=''."
        )
    torch.accelerator.set_device_index(local)
    return torch.device(kind.type, local)


@contextmanager
def accelerating(processes: Processes, **options: Any) -> Iterator[Any]:
    """Give an ``Accelerator`` of these processes, in full precision.

    accelerate keeps one state for the whole program, in class attributes and the environment, and a second object that
    differs from the first is an error. So each is made with nothing there, and what was there is given back.

    Args:
        options: Of the ``Accelerator``.
    """
    accelerate, state = require("accelerate"), require("accelerate.state")
    shared = [each._shared_state for each in (state.PartialState, state.AcceleratorState, state.GradientState)]
    kept, environment = [dict(each) for each in shared], dict(os.environ)
    try:
        for each in shared:
            each.clear()
        _describe_to_accelerate(processes)
        yield accelerate.Accelerator(mixed_precision="no", cpu=processes.device.type == "cpu", **options)
    finally:
        os.environ.clear()
        os.environ.update(environment)
        for each, values in zip(shared, kept, strict=True):
            each.clear()
            each.update(values)


def _describe_to_accelerate(processes: Processes) -> None:
    """Say in the environment, where accelerate reads it, which processes there are, and that nothing else is asked for."""
    several = processes.count > 1
    for name in list(os.environ):
        if name.startswith(("ACCELERATE_", "FSDP_")) or (name in ("RANK", "LOCAL_RANK", "WORLD_SIZE") and not several):
            del os.environ[name]
    os.environ["OMP_NUM_THREADS"] = str(torch.get_num_threads())  # else it sets another number
    if several:
        local = processes.rank if processes.device.index is None else processes.device.index
        count = str(processes.count)
        os.environ |= {
            "RANK": str(processes.rank),
            "WORLD_SIZE": count,
            "LOCAL_WORLD_SIZE": count,
            "LOCAL_RANK": str(local),
        }


def unsynchronized(model: nn.Module, last: bool) -> AbstractContextManager[Any]:
    """Keep gradients to this process, but in the last of several backward passes."""
    return nullcontext() if last or not isinstance(model, DistributedDataParallel) else model.no_sync()
