"""Sandwich and class-conditional norms, forward and backward, against plain BatchNorm2d and the authors' formulation.

    python benchmarks/sandwich.py               2 CPU threads, about 3 minutes; a GPU where there is one
    ... --busy                                  1 thread, its CPU time: for a machine that others use too

Every sample has a class of its own; numbers are medians of paired ratios to plain BatchNorm2d in training on the same
tensor. "authors" normalizes without an affine, gathers a row of scales and biases per sample and multiplies, once for
each affine, as the published code does. Memory is the most that a step holds at a time beside the input and the output's
gradient, in copies of the input.
"""

import os
import sys
import time
from itertools import accumulate

os.environ.setdefault("KINETO_LOG_LEVEL", "99")  # the profiler talks otherwise, and reads this on import

import torch
from paired import machine, ratios
from torch import nn
from torch.profiler import ProfilerActivity, profile

import renorm
from renorm.layers import SandwichBatchNorm, SplitBatchNorm

CUDA = torch.cuda.is_available()
SHAPES = [(128, 64, 32, 32), (64, 256, 14, 14)] if not CUDA else [(256, 64, 56, 56), (256, 256, 14, 14)]
BUSY = "--busy" in sys.argv
THREADS, CLOCK = (1, "CPU time of the thread") if BUSY else (2, "")
if BUSY:
    time.perf_counter = time.thread_time


class Authors(nn.Module):
    """The published formulation, written plainly; without the shared affine it is class-conditional."""

    def __init__(self, channels, classes, shared):
        super().__init__()
        self.norm = nn.BatchNorm2d(channels, affine=False)
        self.shared = nn.Parameter(torch.stack([torch.ones(channels), torch.zeros(channels)])) if shared else None
        self.table = nn.Embedding(classes, 2 * channels)
        with torch.no_grad():
            self.table.weight[:, :channels].fill_(1)
            self.table.weight[:, channels:].zero_()

    def forward(self, x, labels):
        y = self.norm(x)
        if self.shared is not None:
            y = self.shared[0].view(1, -1, 1, 1) * y + self.shared[1].view(1, -1, 1, 1)
        weight, bias = (t.view(*x.shape[:2], 1, 1) for t in self.table(labels).chunk(2, 1))
        return weight * y + bias


def step(norm, x, g, *labels, routed=False):
    def run():
        x.grad = None
        if routed:
            with renorm.route(norm, *labels, check=False):
                y = norm(x)
        else:
            y = norm(x, *labels)
        y.backward(g)

    return run


def peak(run, x):
    """The most memory that a step holds at a time beside its input, in copies of the input."""
    run()
    x.grad = None
    if CUDA:
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        run()
        return (torch.cuda.max_memory_allocated() - before) / x.untyped_storage().nbytes()
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiler:
        run()
    events = profiler.profiler.kineto_results.events()
    held = accumulate(event.nbytes() for event in events if event.name() == "[memory]")
    return max(held) / x.untyped_storage().nbytes()


def sides(shape, classes, x, g, device):
    labels = torch.randint(0, classes, shape[:1], generator=torch.Generator().manual_seed(0)).to(device)
    return {
        "plain": step(nn.BatchNorm2d(shape[1]).to(device), x, g),
        "sandwich": step(SandwichBatchNorm(shape[1], classes).to(device), x, g, labels, routed=True),
        "authors": step(Authors(shape[1], classes, True).to(device), x, g, labels),
        "conditional": step(
            SplitBatchNorm(shape[1], classes, share="statistics").to(device), x, g, labels, routed=True
        ),
        "without": step(Authors(shape[1], classes, False).to(device), x, g, labels),
    }


def main():
    torch.set_num_threads(THREADS)
    torch.manual_seed(0)
    device, dtype = ("cuda", torch.bfloat16) if CUDA else ("cpu", torch.float32)
    print(machine(), dtype, CLOCK)
    names = ("plain", "sandwich", "authors", "conditional", "without")
    head = f"{'sandwich':>9} {'authors':>8} {'conditional':>12} {'authors':>8}"
    print(f"{'':14} {'':18} {'':>7} {'':>9} {'times':^40} | {'memory':^47}")
    print(f"{'format':14} {'shape':18} {'classes':>7} {'plain ms':>9} {head} | {'plain':>6} {head}")
    for memory_format in (torch.contiguous_format, torch.channels_last):
        kind = "channels_last" if memory_format == torch.channels_last else "contiguous"
        for shape in SHAPES:
            for classes in (10, 1000):
                x = torch.randn(shape, device=device, dtype=dtype).contiguous(memory_format=memory_format)
                x.requires_grad_()
                g = torch.randn_like(x)
                runs = sides(shape, classes, x, g, device)
                r, m = ratios(runs, rounds=7, repeats=2), {name: peak(run, x) for name, run in runs.items()}
                times = " ".join(f"{r[name]:{w}.2f}" for name, w in zip(names[1:], (9, 8, 12, 8), strict=True))
                memory = " ".join(f"{m[name]:{w}.2f}" for name, w in zip(names, (6, 9, 8, 12, 8), strict=True))
                print(f"{kind:14} {shape!s:18} {classes:7} {r['ms']:9.2f} {times} | {memory}", flush=True)


if __name__ == "__main__":
    main()
