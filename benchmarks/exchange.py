"""Moment exchange, forward and backward, against the formula written plainly and against plain BatchNorm2d.

    python benchmarks/exchange.py               2 CPU threads, a minute or two; a GPU where there is one
    python benchmarks/exchange.py --steps       whole training steps, with it and without, a minute or two
    ... --busy                                  1 thread, its CPU time: for a machine that others use too

Times are medians of paired ratios to the plain formula, and to BatchNorm2d in training on the same tensor. Memory is the
most that a step holds at a time beside the input and the output's gradient, in copies of the input.
"""

import copy
import os
import sys
import time
from functools import partial
from itertools import accumulate

os.environ.setdefault("KINETO_LOG_LEVEL", "99")  # the profiler talks otherwise, and reads this on import

import torch
from paired import machine, ratios
from torch import nn
from torch.nn import functional as F
from torch.profiler import ProfilerActivity, profile

import renorm
from renorm.functional import exchange_moments

CUDA = torch.cuda.is_available()
SHAPES = [(64, 64, 56, 56), (128, 64, 32, 32), (64, 16, 32, 32)] if not CUDA else [(256, 64, 56, 56)]
BUSY = "--busy" in sys.argv
THREADS, CLOCK = (1, "CPU time of the thread") if BUSY else (2, "")
if BUSY:
    time.perf_counter = time.thread_time
OVER = {"pono": {}, "in": {}, "ln": {}, "gn": {"groups": 4}, "gpono": {"groups": 4}}


def plain(x, permutation, over, groups=1):
    """The formula as it is usually written."""
    grouped = x.unflatten(1, (groups if over in ("gn", "gpono") else x.shape[1] if over == "in" else 1, -1))
    dims = [2] if over in ("pono", "gpono") else [2, 3, 4]
    mean, std = grouped.mean(dims, keepdim=True), (grouped.var(dims, keepdim=True) + 1e-5).sqrt()
    scale = std[permutation] / std
    return (grouped * scale + (mean[permutation] - mean * scale)).flatten(1, 2)


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


def step(forward, x, g):
    def run():
        x.grad = None
        forward().backward(g)

    return run


def row(x, over, groups):
    """Times and memory of the three sides on one tensor."""
    g, permutation, batch_norm = (
        torch.randn_like(x),
        torch.randperm(len(x), device=x.device),
        nn.BatchNorm2d(x.shape[1]),
    )
    forwards = {
        "plain": partial(plain, x, permutation, over, **groups),
        "ours": partial(exchange_moments, x, permutation, over, **groups),
        "batch norm": partial(batch_norm.to(x.device), x),
    }
    times = ratios({name: step(forward, x, g) for name, forward in forwards.items()}, rounds=5, repeats=2)
    return times, {name: peak(step(forward, x, g), x) for name, forward in forwards.items()}


def training_step(model, mix, x, y):
    optimizer = torch.optim.SGD(model.parameters(), 0.01)

    def run():
        optimizer.zero_grad()
        logits = model(x if mix is None else mix(x))
        (F.cross_entropy(logits, y) if mix is None else mix.loss(F.cross_entropy, logits, y)).backward()
        optimizer.step()

    return run


def steps():
    """Times of training steps with an exchange in every step, alone and after CutMix, as shares of the step without."""
    device = "cuda" if CUDA else "cpu"
    print(f"{'model':14} {'format':14} {'plain ms':>9} {'exchange':>9} {'CutMix too':>11}")
    for name, where, shape in (("resnet20", "bn1", (32, 3, 32, 32)), ("timm:resnet18", "maxpool", (8, 3, 128, 128))):
        for memory_format in (torch.contiguous_format, torch.channels_last):
            plain_model = renorm.models.create(name, num_classes=10).to(device, memory_format=memory_format)
            models = {side: copy.deepcopy(plain_model) for side in ("plain", "exchange", "both")}
            exchanges = {side: renorm.MomentExchange(models[side], after=where) for side in ("exchange", "both")}
            mixes = {"plain": None, **exchanges, "both": renorm.Mix(renorm.CutMix(), exchanges["both"])}
            x = torch.randn(shape, device=device).contiguous(memory_format=memory_format)
            y = torch.randint(0, 10, shape[:1], device=device)
            sides = {side: training_step(model, mixes[side], x, y) for side, model in models.items()}
            r = ratios(sides, rounds=9, repeats=1)
            kind = "channels_last" if memory_format == torch.channels_last else "contiguous"
            print(f"{name:14} {kind:14} {r['ms']:9.1f} {r['exchange']:9.2f} {r['both']:11.2f}", flush=True)


def main():
    torch.set_num_threads(THREADS)
    torch.manual_seed(0)
    device, dtype = ("cuda", torch.bfloat16) if CUDA else ("cpu", torch.float32)
    print(machine(), dtype, CLOCK)
    if "--steps" in sys.argv:
        return steps()
    print(
        f"{'format':14} {'shape':17} {'over':6} {'plain ms':>9} {'time':>5} {'vs BN':>6} {'memory':>7} {'plain':>6} {'BN':>5}"
    )
    for memory_format in (torch.contiguous_format, torch.channels_last):
        kind = "channels_last" if memory_format == torch.channels_last else "contiguous"
        for shape in SHAPES:
            x = torch.randn(shape, device=device, dtype=dtype).contiguous(memory_format=memory_format).requires_grad_()
            for over, groups in OVER.items():
                r, memory = row(x, over, groups)
                print(
                    f"{kind:14} {shape!s:17} {over:6} {r['ms']:9.1f} {r['ours']:5.2f} {r['ours'] / r['batch norm']:6.2f} "
                    f"{memory['ours']:7.2f} {memory['plain']:6.2f} {memory['batch norm']:5.2f}",
                    flush=True,
                )
    return None


if __name__ == "__main__":
    main()
