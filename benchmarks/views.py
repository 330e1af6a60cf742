"""Views of one image, seeded by its index, against plain torchvision transforms of the same tensor.

    python benchmarks/views.py        1 CPU thread, about 2 minutes

Numbers are medians of paired ratios to torchvision; each call makes one view of each of 64 images. Ours draw from a
generator seeded for each view, which torchvision's do not.
"""

import torch
from paired import machine, ratios
from torchvision.transforms import v2

from renorm import data

NUM_IMAGES, EPOCH = 64, 3


def theirs(name: str, size: int) -> v2.Transform:
    crop = [v2.RandomCrop(size, size // 8)] if size <= data.SMALL else [v2.RandomResizedCrop(size)]
    policy = {
        "weak": [],
        "randaugment": [v2.RandAugment(2, 9, fill=data.GREY)],
        "autoaugment": [v2.AutoAugment(fill=data.GREY)],
        "trivialaugment": [v2.TrivialAugmentWide(fill=data.GREY)],
        "augmix": [v2.AugMix(all_ops=False, fill=data.GREY)],
    }[name]
    return v2.Compose([*crop, v2.RandomHorizontalFlip(), *policy])


def ours(name: str, size: int) -> data.View:
    if name == "weak":
        return data.view("weak", size)
    return data.view("strong", size, policy=name, cutout=0.0)


def main():
    torch.set_num_threads(1)
    torch.manual_seed(0)
    print(machine())
    print(f"{'image':>10} {'view':>5} {'policy':16} {'torchvision ms':>14} {'renorm':>7}")
    for shape, size in (((32, 32), 32), ((375, 500), 224)):
        images = [torch.randint(0, 256, (3, *shape), dtype=torch.uint8) for _ in range(NUM_IMAGES if size == 32 else 8)]
        for name in ("weak", "randaugment", "autoaugment", "trivialaugment", "augmix"):
            plain, view = theirs(name, size), ours(name, size)
            found = ratios(
                {
                    "torchvision": lambda images=images, plain=plain: [plain(image) for image in images],
                    "renorm": lambda images=images, view=view, name=name: [
                        data.seeded(view, image, 0, EPOCH, i, name) for i, image in enumerate(images)
                    ],
                },
                rounds=15,
            )
            ms, ratio = found["ms"] / len(images), found["renorm"]
            print(f"{shape[0]:>5} x {shape[1]:<3}{size:>5} {name:16} {ms:14.3f} {ratio:7.2f}", flush=True)


if __name__ == "__main__":
    main()
