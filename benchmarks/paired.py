"""Timing sides against each other in one run, so that a slow moment of the machine hits all of them."""

import os
import platform
import statistics
import sys
import time
from collections.abc import Callable, Mapping

import torch


def ratios(sides: Mapping[str, Callable[[], object]], rounds: int = 15, repeats: int = 3) -> dict[str, float]:
    """Median over rounds of each side's time divided by the first side's in the same round, which is turned each round.

    A side's time in a round is the best of ``repeats`` calls, the first call ever being a warm-up.
    """
    for call in sides.values():
        call()
    names, times = list(sides), {name: [] for name in sides}
    for turn in range(rounds):
        for name in names[turn % len(names) :] + names[: turn % len(names)]:
            times[name].append(min(_once(sides[name]) for _ in range(repeats)))
    base = times[names[0]]
    return {name: statistics.median(t / b for t, b in zip(times[name], base, strict=True)) for name in names} | {
        "ms": 1e3 * statistics.median(base)
    }


def _once(call: Callable[[], object]) -> float:
    start = time.perf_counter()
    call()
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter() - start


ALLOCATOR = {"MALLOC_MMAP_MAX_": "0", "MALLOC_TRIM_THRESHOLD_": str(2**33), "MALLOC_TOP_PAD_": str(2**30)}


def machine() -> str:
    """What the numbers are measured on, after starting the script again with an allocator that keeps freed memory.

    glibc gives large tensors back to the system; taking them again costs page faults that can exceed the work measured.
    """
    if not ALLOCATOR.items() <= os.environ.items():
        os.execve(sys.executable, [sys.executable, *sys.argv], os.environ | ALLOCATOR)
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else f"{torch.get_num_threads()} CPU threads"
    return f"torch {torch.__version__}, {device}, {platform.machine()}"
