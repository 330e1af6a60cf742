"""Corrupt a test set, evaluate a small network on it, and repair the network for each corruption with 32 images.

    python examples/01_corrupt_and_evaluate.py [folder]

Trains a ResNet-8 on scikit-learn's digits, writes a corrupted copy of their test split in CIFAR-10-C's layout (kept in the
folder, if one is given), reads it back as a published benchmark would be read, and prints accuracy before and after adapting
the batch-norm statistics. About 20 s on one core; needs `pip install '.[recipes]'`.
"""

import sys
import tempfile
from pathlib import Path

import torch
import torch.nn.functional as F

import renorm
from renorm.shifts import CorruptionSettings, StoredShift, read_shifts, write_shifts

CORRUPTIONS = ("gaussian_noise", "fog", "brightness", "contrast")


def train(images, epochs=5):
    torch.manual_seed(0)
    model = renorm.models.create("resnet8", num_classes=10)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9, weight_decay=5e-4)
    for epoch in range(epochs):
        optimizer.param_groups[0]["lr"] = 0.1 * (1 - epoch / epochs)
        for indices in torch.randperm(len(images)).split(128):
            loss = F.cross_entropy(model(images.normalized(indices)), images.labels[indices])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    return model.eval()


@torch.no_grad()
def accuracy(model, x, labels):
    return (model(x).argmax(1) == labels).double().mean().item()


def corrupted(folder):
    test = renorm.data.load("digits", "test")
    write_shifts(test, folder, CorruptionSettings("cifar-c", CORRUPTIONS))  # unless it is there already
    return read_shifts(folder, classes=test.classes)


def before_and_after(model, images, mean, std):
    pixels, labels = images.batch(range(len(images)))
    x = (pixels / 255 - torch.tensor(mean).view(3, 1, 1)) / torch.tensor(std).view(3, 1, 1)
    before = accuracy(model, x[32:], labels[32:])
    adaptation = renorm.adapt_(model, x[:32], prior=64)  # no labels, no training
    after = accuracy(model, x[32:], labels[32:])
    adaptation.undo()
    return before, after


def main(folder):
    digits = renorm.data.load("digits", "train")
    model = train(digits)
    print(f"{'shift':20s} before   after")
    clean = StoredShift("clean", images=renorm.data.load("digits", "test"))
    for shift in [clean, *corrupted(folder)]:
        before, after = before_and_after(model, shift.images, digits.mean, digits.std)
        print(f"{shift.name:18s} {shift.severity} {before:6.1%}  {after:6.1%}")


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as temporary:
        main(Path(sys.argv[1] if len(sys.argv) > 1 else temporary))
