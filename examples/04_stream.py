"""Let a deployed model follow a stream whose images turn bad and good again, and watch it.

    python examples/04_stream.py

Trains a ResNet-8 on scikit-learn's digits, then shows it the test digits in small batches: as they are, without contrast, and
as they are again. Prints what the adapter noticed, and the accuracy of the source and of the adapted model in each part. The
digits come writer by writer, and another hand may look like a change too. About 15 s on one core; needs
`pip install '.[recipes]'`.
"""

import copy

import torch
import torch.nn.functional as F

import renorm

BATCH = 16


def train(images, epochs=4):
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


def parts(digits):
    """The test digits in three parts, the second one with contrast lost."""
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in (digits.mean, digits.std))
    for name, indices in zip(("clean", "contrast", "clean again"), torch.arange(432).chunk(3), strict=True):
        pixels, labels = digits.batch(indices)
        if name == "contrast":
            pixels = renorm.corruptions.corrupt(pixels, "contrast", 4, seeds=indices.tolist())
        yield name, (pixels / 255 - mean) / std, labels


@torch.no_grad()
def accuracy(model, x, labels):
    logits = torch.cat([model(batch) for batch in x.split(BATCH)])
    return (logits.argmax(1) == labels).double().mean().item()


def main():
    source = train(renorm.data.load("digits", "train"))
    with renorm.Adapter(copy.deepcopy(source)) as adapter:
        print("part          source  adapted  weight of the source  distance (noise)")
        for name, x, labels in parts(renorm.data.load("digits", "test")):
            before, after = (accuracy(model, x, labels) for model in (source, adapter))
            far = adapter.overall
            print(
                f"{name:12s} {before:7.1%} {after:8.1%} {adapter.source_weight:21.2f}  {far.value:.2f} ({far.noise:.2f})"
            )
        for event in adapter.events:
            print(f"at image {event.image}: {event.what}")


if __name__ == "__main__":
    main()
