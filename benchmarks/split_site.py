"""The split site, forward and backward, against plain BatchNorm2d and timm's SplitBatchNorm2d.

    python benchmarks/split_site.py        2 CPU threads, about 3 minutes; a GPU where there is one

Each row is one layout of the batch; numbers are medians of paired ratios to plain BatchNorm2d. timm's layer takes
consecutive equal parts and evaluates the first only; it is timed where the layout is that.
"""

import torch
from paired import machine, ratios
from timm.layers import SplitBatchNorm2d as TimmSplit
from torch import nn

import renorm
from renorm.layers import SplitBatchNorm

CUDA = torch.cuda.is_available()
SHAPES = [(120, 64, 32, 32), (60, 256, 14, 14)] if not CUDA else [(240, 64, 56, 56), (240, 256, 14, 14)]


def layouts(n, k):
    names = [f"b{i}" for i in range(k)]
    generator = torch.Generator().manual_seed(0)
    uneven = {name: (n // 2 if i == 0 else n // 2 // (k - 1)) for i, name in enumerate(names)}
    uneven[names[-1]] += n - sum(uneven.values())
    return names, {
        "whole": (names[0],),
        "interleaved": tuple(names),
        "blocks": (dict.fromkeys(names, n // k),),
        "uneven": (uneven,),
        "labels": (torch.randint(0, k, (n,), generator=generator),),
    }


def step(norm, x, g, route=None):
    def run():
        x.grad = None
        if route is None:
            norm(x).backward(g)
        else:
            with renorm.route(norm, *route, check=False):
                y = norm(x)
            y.backward(g)

    return run


def main():
    torch.set_num_threads(2)
    torch.manual_seed(0)
    device, dtype = ("cuda", torch.bfloat16) if CUDA else ("cpu", torch.float32)
    print(machine(), dtype)
    print(f"{'format':14} {'shape':18} {'K':>2} {'layout':12} {'plain ms':>9} {'split':>6} {'timm':>6}")
    for memory_format in (torch.contiguous_format, torch.channels_last):
        for shape in SHAPES:
            for k in (2, 3, 5):
                names, specs = layouts(shape[0], k)
                x = (
                    torch.randn(shape, device=device, dtype=dtype)
                    .contiguous(memory_format=memory_format)
                    .requires_grad_()
                )
                g = torch.randn_like(x)
                plain = nn.BatchNorm2d(shape[1]).to(device)
                timm = TimmSplit(shape[1], num_splits=k).to(device)
                for name, spec in specs.items():
                    norm = SplitBatchNorm(shape[1], names).to(device)
                    sides = {"plain": step(plain, x, g), "split": step(norm, x, g, spec)}
                    if name == "blocks":
                        sides["timm"] = step(timm, x, g)
                    r = ratios(sides, rounds=9)
                    other = f"{r['timm']:6.2f}" if "timm" in r else ""
                    kind = "channels_last" if memory_format == torch.channels_last else "contiguous"
                    print(
                        f"{kind:14} {shape!s:18} {k:2} {name:12} {r['ms']:9.2f} {r['split']:6.2f} {other}", flush=True
                    )


if __name__ == "__main__":
    main()
