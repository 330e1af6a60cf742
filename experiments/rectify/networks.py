"""Small networks of four families, trained on the very copy of CIFAR-10 (or the PACS domain) that they are judged on.

python experiments/rectify/networks.py vgg OUT --data DATA/cifar10 --epochs 8
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn import functional as F

import renorm
from renorm import attacks, data
from renorm.data import load
from renorm.files import write_atomically
from renorm.models.vgg import CONVOLUTIONS, stage

MEAN, STD = (0.4914, 0.4822, 0.4465), (0.247, 0.2435, 0.2616)
TRAININGS = ("plain", "randaugment", "augmix", "split", "adversarial")
EPS = 4 / 255  # of adversarial training by one step
FAMILIES = ("resnet20", "vgg", "wrn", "mobilenet", "densenet")


class NarrowVGG(nn.Module):
    """VGG-11 with an eighth to a quarter of the channels, so that two cores can train it."""

    def __init__(self, num_classes: int, channels: tuple[int, ...] = (16, 32, 64, 96, 128)) -> None:
        super().__init__()
        before = [3, *channels[:-1]]
        self.features = nn.Sequential(*(stage(*each) for each in zip(before, channels, CONVOLUTIONS[11], strict=True)))
        self.linear = nn.Linear(channels[-1], num_classes)

    def forward(self, x: Tensor) -> Tensor:
        return self.linear(self.features(x).mean((2, 3)))


def build(family: str, num_classes: int) -> nn.Module:
    """An untrained network of a family."""
    if family == "vgg":
        return NarrowVGG(num_classes)
    if family == "mobilenet":  # its strides are made for larger images
        import timm

        net = timm.create_model("mobilenetv3_small_050", num_classes=num_classes)
        return nn.Sequential(nn.Upsample(scale_factor=2, mode="bilinear"), net)
    names = {"resnet20": "resnet20", "wrn": "wrn-10-2", "densenet": "densenet-bc-22-12"}
    return renorm.models.create(names[family], num_classes=num_classes)


def normalize(pixels: Tensor) -> Tensor:
    """Bytes, or floats in 0 to 1, as the networks take them."""
    x = pixels.float() / 255 if pixels.dtype == torch.uint8 else pixels
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in (MEAN, STD))
    return ((x - mean) / std).contiguous(memory_format=torch.channels_last)


def moved(x: Tensor, generator: torch.Generator) -> Tensor:
    """Each image mirrored or not and moved by up to an eighth of its side (one move per batch of 16, zeros outside)."""
    pad = x.shape[-1] // 8
    x = torch.where(torch.rand(len(x), 1, 1, 1, generator=generator) < 0.5, x.flip(3), x)
    padded = F.pad(x, [pad] * 4)
    parts = []
    for part in padded.split(16):
        top, left = torch.randint(2 * pad + 1, (2,), generator=generator).tolist()
        parts.append(part[:, :, top : top + x.shape[-2], left : left + x.shape[-1]])
    return torch.cat(parts).contiguous(memory_format=torch.channels_last)


class Shown:
    """What a network is trained on, given the bytes of a batch: one or two views of each image."""

    def __init__(self, training: str, seed: int) -> None:
        self.training, self.seed, self.step = training, seed, 0
        self.generator = torch.Generator().manual_seed(seed)
        policy = "augmix" if training == "augmix" else "randaugment"
        self.strong = data.view("strong", 32, policy=policy)

    def __call__(self, model: nn.Module, pixels: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """Inputs and their labels; two views of an image stand beside each other."""
        self.step += 1
        if self.training in ("randaugment", "augmix", "split"):
            keys = [(self.seed, self.step, i) for i in range(len(pixels))]
            strong = normalize(data.seeded_batch(self.strong, pixels, keys))
        if self.training in ("randaugment", "augmix"):
            return strong, labels
        weak = moved(normalize(pixels), self.generator)
        if self.training == "split":
            return renorm.interleave(weak, strong), labels.repeat_interleave(2)
        if self.training == "adversarial":
            mean, std = (torch.tensor(values).view(3, 1, 1) for values in (MEAN, STD))
            x = (weak * std + mean).clamp(0, 1)
            return normalize(attacks.fgsm(model, x, labels, eps=EPS, normalize=normalize)), labels
        return weak, labels


def train(model: nn.Module, pixels: Tensor, labels: Tensor, epochs: int, seed: int, batch: int, training: str) -> None:
    """SGD with Nesterov momentum under a one-cycle rate."""
    shown, generator = Shown(training, seed), torch.Generator().manual_seed(seed)
    model.train().to(memory_format=torch.channels_last)
    if training == "split":
        renorm.split_(model, ["weak", "strong"])
        renorm.route_(model, train=("weak", "strong"), eval="weak")
    steps = epochs * (len(pixels) // batch)
    optimizer = torch.optim.SGD(model.parameters(), 0.1, momentum=0.9, weight_decay=5e-4, nesterov=True)
    rate = torch.optim.lr_scheduler.OneCycleLR(optimizer, 0.1, total_steps=steps, pct_start=0.15)
    began = time.time()
    for epoch in range(epochs):
        order = torch.randperm(len(pixels), generator=generator)
        losses = []
        for rows in order[: len(order) // batch * batch].split(batch):
            x, y = shown(model, pixels[rows], labels[rows])
            loss = F.cross_entropy(model(x), y)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            rate.step()
            losses.append(loss.item())
        print(f"epoch {epoch + 1}: loss {sum(losses) / len(losses):.3f}, {time.time() - began:.0f} s", flush=True)
    model.eval()


@torch.no_grad()
def accuracy(model: nn.Module, pixels: Tensor, labels: Tensor) -> float:
    """Share of hits in evaluation mode."""
    parts = zip(pixels.split(250), labels.split(250), strict=True)
    return sum(int((model(normalize(x)).argmax(1) == y).sum()) for x, y in parts) / len(labels)


def opened(family: str, file: Path, num_classes: int) -> nn.Module:
    """A trained network."""
    model = build(family, num_classes)
    model.load_state_dict(load_file(file))
    return model.eval().to(memory_format=torch.channels_last)


def main() -> None:
    """Train one network and save it."""
    parser = argparse.ArgumentParser()
    parser.add_argument("family", choices=FAMILIES)
    parser.add_argument("out", type=Path)
    parser.add_argument("--data", required=True)
    parser.add_argument("--images", type=int, help="of the training set, the first so many")
    parser.add_argument("--training", choices=TRAININGS, default="plain")
    parser.add_argument("--domain", help="of a PACS-like folder: FILE without .parquet")
    parser.add_argument("--size", type=int)
    parser.add_argument("--epochs", type=int, default=8)
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    torch.manual_seed(given.seed)
    source = f"{given.data}/{given.domain}.parquet" if given.domain else given.data
    images = load(source, size=given.size)
    pixels, labels = images.batch(range(min(len(images), given.images or len(images))))
    labels = torch.as_tensor(labels)
    held = (torch.arange(len(pixels)) % 10 == 0) & (given.domain is not None)
    model = build(given.family, len(images.classes))
    train(model, pixels[~held], labels[~held], given.epochs, given.seed, given.batch, given.training)
    if given.training == "split":
        model = renorm.fold(model, "weak")
    if given.domain:
        pixels, labels = pixels[held], labels[held]
    else:
        pixels, labels = load(source, split="test").batch(range(10_000))
    print(f"{given.family}: {accuracy(model, pixels, torch.as_tensor(labels)):.2%} on {len(labels)} images", flush=True)
    given.out.parent.mkdir(parents=True, exist_ok=True)
    save_file({k: v.contiguous() for k, v in model.state_dict().items()}, f"{given.out}.part")
    write_atomically(given.out, Path(f"{given.out}.part").read_bytes())


if __name__ == "__main__":
    main()
