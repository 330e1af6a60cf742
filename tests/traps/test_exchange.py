"""Faults of published moment exchange code, which are not here."""

from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.testing import assert_close

import renorm
from renorm.functional import exchange_moments


def published(x: Tensor, pi: Tensor, dims: list[int]) -> Tensor:
    """The rule as it is published, which divides by n - 1 = 0 and computes in float32."""
    kind = x.dtype
    x = x.float()
    mean, std = x.mean(dims, keepdim=True), (x.var(dims, keepdim=True) + 1e-5).sqrt()
    scale = std[pi] / std
    return (x * scale + mean[pi] - mean * scale).to(kind)


PI = torch.tensor([1, 0])


@pytest.mark.filterwarnings("ignore:var.*degrees of freedom")
@pytest.mark.parametrize(("shape", "over", "dims"), [((2, 1, 3, 3), "pono", [1]), ((2, 3, 1, 1), "in", [2, 3])])
def test_groups_of_one_element_are_an_error_and_not_nan(shape, over, dims):
    x = torch.randn(shape)
    assert published(x, PI, dims).isnan().all()
    with pytest.raises(ValueError, match="parts of 1 value"):
        exchange_moments(x, PI, over)


def test_float64_is_not_computed_in_float32():
    x = torch.randn(2, 4, 3, 3, dtype=torch.float64)
    mean, std = x.mean(1, keepdim=True), (x.var(1, keepdim=True) + 1e-5).sqrt()
    want = (x - mean) / std * std[PI] + mean[PI]
    assert_close(exchange_moments(x, PI), want, rtol=1e-12, atol=1e-12)
    with pytest.raises(AssertionError):
        assert_close(published(x, PI, [1]), want, rtol=1e-12, atol=1e-12)


def test_there_is_no_norm_over_the_batch():
    with pytest.raises(ValueError, match="over='bn' was given"):
        exchange_moments(torch.randn(2, 4, 3, 3), PI, "bn")


def test_a_misspelled_layer_is_an_error():
    model = nn.Sequential(nn.Conv2d(3, 4, 1), nn.ReLU())
    with pytest.raises(ValueError, match="is not a layer"):
        renorm.MomentExchange(model, after="stem")


def test_the_stem_runs_once_and_its_statistics_move_once():
    model = nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(64, 3))
    mix, x, y = renorm.MomentExchange(model, after="1"), torch.randn(4, 3, 4, 4), torch.tensor([0, 1, 2, 0])
    calls = []
    model[0].register_forward_hook(lambda *_: calls.append(1))
    for _ in range(3):
        mix.loss(F.cross_entropy, model(mix(x)), y).backward()
    assert len(calls) == 3
    assert model[1].num_batches_tracked == 3


def test_the_constant_part_does_not_divide_by_zero():
    x = torch.zeros(2, 4, 3, 3)
    x[1] = torch.randn(4, 3, 3)
    x.requires_grad_()
    y = exchange_moments(x, PI)
    y.sum().backward()
    assert y.isfinite().all()
    assert x.grad is not None
    assert x.grad.isfinite().all()


def published_positive(x: Tensor, pi: Tensor, dims: list[int]) -> Tensor:
    """By the positive values, as published: parts with a single one have a deviation of sqrt(eps)."""
    count = (x > 0).sum(dims, keepdim=True).clamp(min=1)
    mean = x.relu().sum(dims, keepdim=True) / count
    std = (x.relu().square().sum(dims, keepdim=True) / count - mean**2 + 1e-5).sqrt()
    return x * std[pi] / std + mean[pi] - mean * std[pi] / std


def test_positive_values_of_a_trained_network_do_not_blow_up(data_folder: Path):
    model = renorm.models.create("resnet20", num_classes=10).eval()
    renorm.models.load_weights(model, data_folder / "weights" / "cifar10-resnet20.safetensors")
    images = renorm.data.load(str(data_folder / "cifar10"), split="test").subset(list(range(128)))
    seen: list[Any] = []
    model.get_submodule("layer3").register_forward_hook(lambda _, args, output: seen.append(output))
    with torch.no_grad():
        model(images.normalized())
    x, pi = seen[0], torch.randperm(128, generator=torch.Generator().manual_seed(0))
    assert exchange_moments(x, pi, "in", positive_only=True).abs().max() < 2 * x.max()
    assert published_positive(x, pi, [2, 3]).abs().max() > 5 * x.max()
