"""Running a function on several processes that form a gloo group."""

import multiprocessing
import tempfile
import time
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch.multiprocessing.spawn import start_processes

ROOMS = ("adapt", "attacks", "banks", "evaluate", "mix", "recipes.classify", "surgery")  # what ranks import most
TIMEOUT = 300.0  # seconds until ranks that wait for each other are a failure; a busy machine needs many


def on_ranks(num_ranks: int, work: Callable[..., Any], *args: Any) -> list[Any]:
    """What ``work(rank, *args)`` returns on every rank: tensors, numbers and texts in lists and dicts.

    An exception on a rank, or ranks that hang, end all of them and fail here. Processes are forked from one clean process
    that has imported torch, which is several times faster than importing it in each.
    """
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["torch._dynamo", "torch.distributed", *(f"renorm.{room}" for room in ROOMS)])
    with tempfile.TemporaryDirectory() as folder:
        started = start_processes(
            _one_rank, (num_ranks, folder, work, args), nprocs=num_ranks, join=False, start_method="forkserver"
        )
        assert started is not None
        end = time.monotonic() + TIMEOUT
        try:
            while not started.join(timeout=1):
                if time.monotonic() > end:
                    raise TimeoutError(f"the ranks did not finish in {TIMEOUT:.0f} s; one may wait for another")
        finally:
            for process in started.processes:
                if process is not None:
                    process.kill()
        return [torch.load(Path(folder) / f"{rank}.pt", weights_only=True) for rank in range(num_ranks)]


def _one_rank(rank: int, num_ranks: int, folder: str, work: Callable[..., Any], args: tuple[Any, ...]) -> None:
    torch.set_num_threads(1)
    torch.manual_seed(0)
    store = f"file://{folder}/store"
    wait = timedelta(seconds=TIMEOUT / 2)
    dist.init_process_group("gloo", init_method=store, rank=rank, world_size=num_ranks, timeout=wait)
    try:
        torch.save(work(rank, *args), Path(folder) / f"{rank}.pt")
        dist.barrier()
    finally:
        dist.destroy_process_group()
