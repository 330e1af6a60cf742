"""A training step over two views with split norms, against the same step with shared batch norm.

python benchmarks/training_step.py     2 CPU threads, about 2 minutes; a GPU where there is one
"""

import copy

import torch
from paired import machine, ratios
from torch.nn import functional as F

import renorm

CUDA = torch.cuda.is_available()


def step(model, optimizer, views, target, memory_format, *, split):
    def run():
        x, spec = renorm.stack(views, memory_format)
        optimizer.zero_grad()
        if split:
            with renorm.route(model, spec):
                parts = renorm.unstack(model(x), spec)
        else:
            parts = renorm.unstack(model(x), spec)
        sum(F.cross_entropy(y, target) for y in parts.values()).backward()
        optimizer.step()

    return run


def main():
    torch.set_num_threads(2)
    torch.manual_seed(0)
    device = "cuda" if CUDA else "cpu"
    print(machine())
    print(f"{'model':12} {'format':14} {'shared ms':>10} {'split':>6}")
    for name, n, size in (("resnet20", 64, 32), ("wrn-16-4", 32, 32)):
        for memory_format in (torch.contiguous_format, torch.channels_last):
            shared = renorm.models.create(name, num_classes=10).to(device, memory_format=memory_format)
            split = copy.deepcopy(shared)
            renorm.split_(split, ["weak", "strong"])
            views = {
                branch: torch.randn(n, 3, size, size, device=device).contiguous(memory_format=memory_format)
                for branch in ("weak", "strong")
            }
            target = torch.randint(0, 10, (n,), device=device)
            sides = {
                kind: step(
                    model,
                    torch.optim.SGD(model.parameters(), 0.01, 0.9),
                    views,
                    target,
                    memory_format,
                    split=kind == "split",
                )
                for kind, model in (("shared", shared), ("split", split))
            }
            r = ratios(sides, rounds=11, repeats=2)
            kind = "channels_last" if memory_format == torch.channels_last else "contiguous"
            print(f"{name:12} {kind:14} {r['ms']:10.1f} {r['split']:6.2f}", flush=True)


if __name__ == "__main__":
    main()
