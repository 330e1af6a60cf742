"""Does measuring statistics again repair a network whose weights were changed after training? No training, no labels.

    python experiments/recalibrate/study.py resnet20 --data DATA     # goes on where it was stopped
    python experiments/recalibrate/study.py lite0 --data DATA

DATA has `cifar10`, `imagenet/photos.parquet` and `weights/cifar10-resnet20.safetensors`. The ResNet-20, trained on CIFAR-10
by others, is measured on 1,024 training images, moved and mirrored as in training, and judged on 2,000 test images;
EfficientNet-Lite0 (the extra `samples`) is measured on the 300 even and judged on the 300 odd ones of 600 photographs, one
a class. Averages are of a short fine-tuning of the ResNet-20, 150 steps of 128 images.
"""

from __future__ import annotations

import argparse
import copy
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.utils import prune
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn, update_bn

import renorm
from renorm.data import IMAGENET_MEAN, IMAGENET_STD, load, sample
from renorm.files import write_atomically
from renorm.metrics import paired_difference, signal_to_noise
from renorm.models import create, load_sample, load_weights

STEPS, BATCH, RATE = 150, 128, 0.02


class Material(NamedTuple):
    """A network, images to measure on, and images with labels to judge on; all as the network takes them."""

    model: Any
    measured: list[Tensor]
    judged: list[Tensor]
    labels: Tensor
    trained: tuple[Tensor, Tensor] | None = None


def resnet20(data: Path) -> Material:
    model = load_weights(create("resnet20"), data / "weights" / "cifar10-resnet20.safetensors").eval()
    mean, std = (torch.tensor(each).view(3, 1, 1) for each in (IMAGENET_MEAN, IMAGENET_STD))

    def ready(images: Any) -> tuple[Tensor, Tensor]:
        pixels, labels = images.batch(range(len(images)))
        return (pixels.float() / 255 - mean) / std, labels

    train, test = (load(data / "cifar10", split) for split in ("train", "test"))
    x = moved(ready(sample(train, 1024))[0])
    y, labels = ready(sample(test, 2000))
    return Material(model, list(x.split(128)), list(y.split(250)), labels, ready(sample(train, STEPS * BATCH, 1)))


def moved(x: Tensor) -> Tensor:
    """As it is trained on: moved by up to four pixels, zeros around it, and half of them mirrored."""
    random = torch.Generator().manual_seed(0)
    padded = nn.functional.pad(x, (4, 4, 4, 4))
    places = torch.randint(9, (len(x), 2), generator=random).tolist()
    cut = torch.stack([image[:, i : i + 32, j : j + 32] for image, (i, j) in zip(padded, places, strict=True)])
    mirrored = torch.rand(len(x), generator=random) < 0.5
    return torch.where(mirrored.view(-1, 1, 1, 1), cut.flip(3), cut)


def lite0(data: Path) -> Material:
    model = load_sample()
    images = load(data / "imagenet" / "photos.parquet", model=model)
    even, odd = (torch.arange(start, 600, 2) for start in (0, 1))
    x = images.subset(even).normalized()
    judged = images.subset(odd)
    return Material(model, list(x.split(50)), list(judged.normalized().split(50)), judged.labels)


def weights_of(model: nn.Module) -> Iterator[Any]:
    return (m for m in model.modules() if isinstance(m, (nn.Conv2d, nn.Linear)))


def pruned(share: float) -> Callable[[Material], nn.Module]:
    def change(given: Material) -> nn.Module:
        model = copy.deepcopy(given.model)
        layers = [(m, "weight") for m in weights_of(model)]
        prune.global_unstructured(layers, prune.L1Unstructured, amount=share)
        for layer, name in layers:
            prune.remove(layer, name)
        return model

    return change


def quantized(bits: int) -> Callable[[Material], nn.Module]:
    """Weights rounded to levels of one scale a layer."""

    @torch.no_grad()
    def change(given: Material) -> nn.Module:
        model = copy.deepcopy(given.model)
        for layer in weights_of(model):
            scale = layer.weight.abs().max() / (2 ** (bits - 1) - 1)
            layer.weight.copy_((layer.weight / scale).round() * scale)
        return model

    return change


def in_bfloat16(given: Material) -> nn.Module:
    """All of it, then computed in float32 again, so that only what is stored is rounded."""
    return copy.deepcopy(given.model).bfloat16().float()


def tuned(given: Material, seed: int, average: AveragedModel | None = None) -> nn.Module:
    assert given.trained
    model, (x, labels) = copy.deepcopy(given.model).train(), given.trained
    optimizer = torch.optim.SGD(model.parameters(), RATE, momentum=0.9)
    order = torch.randperm(len(x), generator=torch.Generator().manual_seed(seed))
    for rows in order.split(BATCH):
        loss = nn.functional.cross_entropy(model(x[rows]), labels[rows])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if average is not None:
            average.update_parameters(model)
    return model.eval()


def soup(given: Material) -> tuple[nn.Module, nn.Module]:
    """The mean of two fine-tuned networks, statistics too, as state dicts are averaged; and the first of them."""
    first, second = (tuned(given, seed) for seed in (1, 2))
    original = copy.deepcopy(first)
    mixed = {k: (v + second.state_dict()[k]) / 2 if v.is_floating_point() else v for k, v in first.state_dict().items()}
    first.load_state_dict(mixed)
    return first, original


def averaged(decay: float | None) -> Callable[[Material], tuple[nn.Module, nn.Module]]:
    """An EMA or, without a decay, SWA of a fine-tuning, with the statistics of its last step; and the network of that step."""

    def change(given: Material) -> tuple[nn.Module, nn.Module]:
        how: Any = {"multi_avg_fn": get_ema_multi_avg_fn(decay)} if decay else {}
        average = AveragedModel(copy.deepcopy(given.model), **how)
        last = tuned(given, 1, average)
        model: Any = copy.deepcopy(average.module).eval()
        buffers = dict(last.named_buffers())
        for name, buffer in model.named_buffers():
            buffer.copy_(buffers[name])
        return model, last

    return change


CHANGES: dict[
    str, Callable[[Material], Any]
] = {  # the changed network, and the original where it is another than the given
    "nothing": lambda given: copy.deepcopy(given.model),
    "stored in bfloat16": in_bfloat16,
    "weights of 8 bits": quantized(8),
    "weights of 6 bits": quantized(6),
    "weights of 4 bits": quantized(4),
    "a third of the weights pruned": pruned(1 / 3),
    "half of the weights pruned": pruned(1 / 2),
    "EMA of a fine-tuning": averaged(0.98),
    "SWA of a fine-tuning": averaged(None),
    "soup of two fine-tunings": soup,
}


@torch.no_grad()
def outputs(model: nn.Module, given: Material) -> Tensor:
    return torch.cat([model(x) for x in given.judged])


def row(name: str, given: Material) -> str:
    made = CHANGES[name](given)
    model, source = made if isinstance(made, tuple) else (made, given.model)
    original = outputs(source, given)
    before, state = outputs(model, given), copy.deepcopy(model.state_dict())
    theirs = copy.deepcopy(model)
    update_bn(given.measured, theirs)
    report = renorm.recalibrate_(model, given.measured)
    after = outputs(model, given)
    report.undo()
    assert all(torch.equal(value, state[key]) for key, value in model.state_dict().items())
    renorm.recalibrate_(model, given.measured, original=source)
    shifted = outputs(model, given)
    right = [found.argmax(1) == given.labels for found in (before, after, shifted, outputs(theirs.eval(), given))]
    gain = paired_difference(right[2], right[0])
    accuracies = [f"{100 * float(each.double().mean()):.1f}" for each in right]
    interval = f"{100 * gain.value:+.1f} ({100 * gain.low:+.1f} to {100 * gain.high:+.1f})"
    noise = [f"{signal_to_noise(found, original):.1f}" for found in (before, after, shifted)]
    return " | ".join(["", name, *accuracies[:3], interval, accuracies[3], *noise, ""]).strip()


def main() -> None:
    """Print and keep a row for each change."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("network", choices=["resnet20", "lite0"])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results")
    asked = parser.parse_args()
    torch.set_num_threads(1)
    given = {"resnet20": resnet20, "lite0": lite0}[asked.network](asked.data)
    file = asked.out / f"{asked.network}.md"
    columns = [
        "changed after training",
        "accuracy",
        "measured again",
        "moved by the difference",
        "gain of that in points, 95 %",
    ]
    columns += ["`update_bn`", "signal to noise before, dB", "measured again", "by the difference"]
    lines = [f"| {' | '.join(columns)} |", "|---" * len(columns) + "|"]
    lines = file.read_text().splitlines() if file.exists() else lines
    print("\n".join(lines), flush=True)
    for name in CHANGES:
        kept = any(line.startswith(f"| {name} |") for line in lines)
        if not kept and (given.trained or "fine-tuning" not in name):
            lines.append(row(name, given))
            print(lines[-1], flush=True)
            write_atomically(file, ("\n".join(lines) + "\n").encode())


if __name__ == "__main__":
    main()
