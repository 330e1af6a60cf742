"""The AdaIN site against the formula written plainly, forward and backward; and whole pictures, with their memory.

    python benchmarks/adain.py                  2 CPU threads, about a minute
    python benchmarks/adain.py --pictures       512 x 512 and 1920 x 1080 pixels through a network, about two minutes
    ... --busy                                  1 thread, its CPU time: for a machine that others use too

Times are medians of paired ratios to the plain formula on the same features. A picture is one of VGG-19's full width with random
weights, whole and in tiles of 512, against the same network in a plain script, each in a process of its own, whose largest
resident memory beyond that of a small picture is told.
"""

import os
import resource
import subprocess
import sys
import time

import torch
from paired import machine, ratios
from torch import nn
from torch.nn import functional as F

from renorm.functional import adain
from renorm.models import Decoder, Encoder, Stylizer

SHAPES = [(8, 512, 32, 32), (8, 128, 28, 28), (1, 512, 135, 240)]
SIZES = [(512, 512), (1080, 1920)]
WIDTHS = (64, 64, 128, 128, 256, 256, 256, 256, 512)
BUSY = "--busy" in sys.argv
THREADS, CLOCK = (1, "CPU time of the thread") if BUSY else (2, "")
if BUSY:
    time.perf_counter = time.thread_time


def plain(content, style, *affine):
    """The formula as the published scripts write it."""
    (mean, std), (style_mean, style_std) = (moments(x) for x in (content, style))
    z = (content - mean) / std
    for weight, bias in [affine] if affine else []:
        z = z * weight.view(1, -1, 1, 1) + bias.view(1, -1, 1, 1)
    return z * style_std + style_mean


def moments(x):
    flat = x.flatten(2)
    return flat.mean(2)[..., None, None], (flat.var(2) + 1e-5).sqrt()[..., None, None]


def step(function, content, style, affine, g):
    def run():
        for x in (content, *affine):
            x.grad = None
        function(content, style, *affine).backward(g)

    return run


def sites():
    print(f"{'features':20s} {'affine':6s}  plain ms  ours / plain")
    for shape in SHAPES:
        content, style, g = (torch.randn(shape) for _ in range(3))
        content.requires_grad_()
        for affine in ((), tuple(nn.Parameter(torch.ones(shape[1])) for _ in range(2))):
            calls = {"plain": plain, "ours": adain}
            found = ratios({name: step(f, content, style, affine, g) for name, f in calls.items()}, rounds=9, repeats=2)
            print(
                f"{' '.join(map(str, shape)):20s} {'yes' if affine else 'no':6s} {found['ms']:9.1f} {found['ours']:9.2f}"
            )


def script(encoder, decoder, x, style):
    """A picture by the plain formula, padded to whole cells as the network pads it."""
    pads = [-side % 8 for side in x.shape[:1:-1]]
    padded = F.pad(x, (0, pads[0], 0, pads[1]), mode="reflect") if any(pads) else x
    return decoder(plain(encoder(padded), encoder(style)))[..., : x.shape[2], : x.shape[3]]


@torch.no_grad()
def picture(kind, height, width):
    """Seconds and gigabytes of one picture."""
    torch.manual_seed(0)
    net = Stylizer(Encoder(WIDTHS), Decoder(WIDTHS)).eval()
    small, x = torch.rand(1, 3, 64, 64), torch.rand(1, 3, height, width)
    bank = net.style(small)
    calls = {
        "script": lambda x: script(net.encoder, net.decoder, x, small),
        "whole": lambda x: net(x, bank),
        "tiles": lambda x: net.tiled(x, bank, tile=512),
    }
    calls[kind](small)
    before, started = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.perf_counter()
    calls[kind](x)
    taken = time.perf_counter() - started
    print(f"{taken:.1f} s, {(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1e6:.2f} GB")


def pictures():
    for height, width in SIZES:
        for kind in ("script", "whole", "tiles"):
            command = [sys.executable, __file__, "--one", kind, str(height), str(width), *["--busy"] * BUSY]
            print(
                f"{width} x {height} {kind:7s}",
                subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip(),
            )


if __name__ == "__main__":
    if "--one" in sys.argv:
        place = sys.argv.index("--one")
        torch.set_num_threads(THREADS)
        picture(sys.argv[place + 1], int(sys.argv[place + 2]), int(sys.argv[place + 3]))
    else:
        torch.set_num_threads(THREADS)
        print(machine(), CLOCK, f"{os.cpu_count()} cores")
        pictures() if "--pictures" in sys.argv else sites()
