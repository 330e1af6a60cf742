"""The published ResNet-20 on streams of real images: noise that comes and goes, and images sorted by class."""

import copy
from pathlib import Path
from typing import NamedTuple

import pytest
import torch
from torch import Tensor, nn

from renorm.adapt.stream import Adapter
from renorm.corruptions import corrupt
from renorm.data import load
from renorm.models import create, load_weights

COUNT, BATCH = 384, 32


class Real(NamedTuple):
    model: nn.Module
    clean: Tensor
    noisy: Tensor
    labels: Tensor


@pytest.fixture(scope="module")
def real(data_folder: Path) -> Real:
    """The network and test images, clean and with noise."""
    pytest.importorskip("pyarrow")
    data = load(data_folder / "cifar10" / "test.parquet", "test").subset(range(COUNT))
    model = load_weights(create("resnet20"), data_folder / "weights" / "cifar10-resnet20.safetensors").eval()
    pixels, labels = data.batch(range(COUNT))
    mean, std = (torch.tensor(values)[:, None, None] for values in (data.mean, data.std))
    noisy = corrupt(pixels, "gaussian_noise", 3, seeds=range(COUNT))
    return Real(model, (pixels / 255 - mean) / std, (noisy / 255 - mean) / std, labels)


def hits(model: nn.Module | Adapter, x: Tensor, labels: Tensor) -> float:
    with torch.no_grad():
        parts = [model(part).argmax(1) for part in x.split(BATCH)]
    return (torch.cat(parts) == labels).double().mean().item()


def test_noise_that_comes_and_goes(real: Real):
    model, third = copy.deepcopy(real.model), COUNT // 3
    parts = [slice(0, third), slice(third, 2 * third), slice(2 * third, COUNT)]
    shown = [real.clean[parts[0]], real.noisy[parts[1]], real.clean[parts[2]]]
    with Adapter(model) as adapter:
        adapted = [hits(adapter, x, real.labels[part]) for x, part in zip(shown, parts, strict=True)]
        changes = [event.image for event in adapter.events if event.what == "changed"]
    source = [hits(model, x, real.labels[part]) for x, part in zip(shown, parts, strict=True)]
    assert changes == [third + BATCH, 2 * third + BATCH]
    assert adapted[1] > source[1] + 0.15
    assert min(adapted[0] - source[0], adapted[2] - source[2]) > -0.06


def test_a_sorted_stream_is_not_taken_for_a_shift(real: Real):
    """Nor is a real shift left as it is; the first batch cannot be known to be of one class."""
    order = real.labels.argsort(stable=True)
    clean, noisy, labels = real.clean[order], real.noisy[order], real.labels[order]
    rest = labels[BATCH:]
    source = [hits(real.model, x[BATCH:], rest) for x in (clean, noisy)]
    adapted = []
    for x in (clean, noisy):
        with Adapter(copy.deepcopy(real.model), foreign="adapt") as adapter:
            adapter(x[:BATCH])
            adapted.append(hits(adapter, x[BATCH:], rest))
            assert adapter.effective_images < 16
    assert adapted[0] > source[0] - 0.02, (adapted, source)
    assert adapted[1] > source[1] + 0.1, (adapted, source)
