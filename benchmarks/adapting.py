"""Adapting to 32 images, and measuring over a loader, against plain inference of the same images.

python benchmarks/adapting.py          2 CPU threads, about 3 minutes; a GPU where there is one
"""

import torch
from paired import machine, ratios

import renorm

CUDA = torch.cuda.is_available()
CASES = [("resnet20", 32), ("timm:resnet18", 160), ("timm:resnet18", 224), ("timm:mobilenetv3_small_100", 224)]


def main():
    torch.set_num_threads(2)
    torch.manual_seed(0)
    device = "cuda" if CUDA else "cpu"
    print(machine())
    print(
        f"{'model':28} {'size':>4} {'format':14} {'forward ms':>10} {'prior':>7} {'auto':>6} {'measure':>8} {'2 passes':>9}"
    )
    for name, size in CASES:
        for memory_format in (torch.contiguous_format, torch.channels_last):
            model = renorm.models.create(name, num_classes=10).to(device, memory_format=memory_format).eval()
            batches = [
                torch.randn(32, 3, size, size, device=device).contiguous(memory_format=memory_format) for _ in range(3)
            ]

            @torch.no_grad()
            def forward(model=model, images=batches[0]):
                model(images)

            @torch.no_grad()
            def inference(model=model, batches=batches):
                for images in batches:
                    model(images)

            one = ratios(
                {
                    "forward": forward,
                    "adapt": lambda m=model, b=batches: renorm.adapt_(m, b[0], prior=64).undo(),
                    "auto": lambda m=model, b=batches: renorm.adapt_(m, b[0], prior="auto").undo(),
                },
                rounds=9,
                repeats=2,
            )
            many = ratios(
                {
                    "inference": inference,
                    "measure": lambda m=model, b=batches: renorm.measure(m, b),
                    "twice": lambda m=model, b=batches: renorm.measure(m, b, passes=2),
                },
                rounds=5,
                repeats=2,
            )
            kind = "channels_last" if memory_format == torch.channels_last else "contiguous"
            print(
                f"{name:28} {size:4} {kind:14} {one['ms']:10.1f} {one['adapt']:7.2f} "
                f"{one['auto']:6.2f} {many['measure']:8.2f} {many['twice']:9.2f}",
                flush=True,
            )


if __name__ == "__main__":
    main()
