"""Do clean statistics lose accuracy because they are measured, or because they are clean?

    python experiments/clean_statistics.py runs/cifar10 CIFAR10      2 cores, 1 minute

Measures the weak branch's statistics on 5,120 training images, once as weak views and once clean, in batches of several
sizes, and evaluates each bank on the first 2,000 test images.
"""

import sys
from contextlib import nullcontext
from pathlib import Path

import torch
from torch import nn

import renorm
from renorm import augment
from renorm.data import Images, load
from renorm.recipes.opened import open_run


@torch.no_grad()
def accuracy(model: nn.Module, test: Images, bank: renorm.Bank | None) -> float:
    """In %, of the weak branch with its own statistics or a bank's."""
    borrowed = nullcontext() if bank is None else renorm.using(model, bank, "weak")
    with borrowed, renorm.route(model, "weak"):
        outputs = torch.cat([model(test.normalized(range(i, i + 500))) for i in range(0, len(test), 500)])
    return 100 * (outputs.argmax(1) == test.labels).double().mean().item()


def main(run: Path, source: str) -> None:
    model = open_run(run).subject.model.eval()
    train, test = load(source, "train"), load(source, "test").subset(range(2000))
    torch.manual_seed(0)
    chosen = train.subset(torch.randperm(len(train))[:5120])
    weak = augment.view("weak", 32)
    views = Images("weak", torch.stack([weak(image) for image, _ in chosen]), chosen.labels, chosen.classes)
    print(f"the weak bank: {accuracy(model, test, None):.1f} %")
    for images in (views, chosen):
        for size in (32, 128, 512):
            bank = renorm.measure(model, images.normalized().split(size), "weak")
            print(f"{images.name}, batches of {size}: {accuracy(model, test, bank):.1f} %")


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2])
