"""The published ResNet-20 for CIFAR-10 on real images: what holds for small random models must hold where it matters."""

import copy
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch
from torch import Tensor, nn
from torch.testing import assert_close

import renorm
from renorm.corruptions import corrupt
from renorm.data import load
from renorm.functional import Moments, merge, moments
from renorm.models import create, load_weights

COUNT, BATCH = 300, 100


class Real(NamedTuple):
    model: nn.Module
    images: Tensor
    noisy: Tensor
    labels: Tensor


@pytest.fixture(scope="module")
def real(data_folder: Path) -> Real:
    """The network and 300 test images, clean and with noise."""
    pytest.importorskip("pyarrow")
    data = load(data_folder / "cifar10" / "test.parquet", "test").subset(range(COUNT))
    model = load_weights(create("resnet20"), data_folder / "weights" / "cifar10-resnet20.safetensors").eval()
    pixels, labels = data.batch(range(COUNT))
    mean, std = (torch.tensor(values)[:, None, None] for values in (data.mean, data.std))
    noisy = corrupt(pixels, "gaussian_noise", 3, seeds=range(COUNT))
    return Real(model, (pixels / 255 - mean) / std, (noisy / 255 - mean) / std, labels)


@torch.inference_mode()
def accuracy(model: nn.Module, images: Tensor, labels: Tensor) -> float:
    hits = [(model(x).argmax(1) == y).sum() for x, y in zip(images.split(BATCH), labels.split(BATCH), strict=True)]
    return int(torch.stack(hits).sum()) / len(labels)


def rescaled(model: nn.Module) -> nn.Module:
    """Every output channel of every convolution times a number of its own: other weights, the same network."""
    model, generator = copy.deepcopy(model), torch.Generator().manual_seed(6)
    with torch.no_grad():
        for module in model.modules():
            if isinstance(module, nn.Conv2d):
                shape = (module.out_channels, 1, 1, 1)
                module.weight *= torch.empty(shape).uniform_(0.3, 3, generator=generator)
    return model


def stale(model: nn.Module, batches: Sequence[Tensor]) -> dict[str, Tensor]:
    """Statistics collected while the installed ones normalize: the usual mistake."""
    model, seen = copy.deepcopy(model).eval(), dict[str, Moments]()

    def collect(module: Any, args: tuple[Tensor, ...]) -> None:
        batch = moments(args[0], [0, 2, 3])
        seen[module.name] = merge(seen[module.name], batch) if module.name in seen else batch

    for name, module in model.named_modules():
        if isinstance(module, nn.BatchNorm2d):
            vars(module)["name"] = name
            module.register_forward_pre_hook(collect)
    with torch.inference_mode():
        for x in batches:
            model(x)
    means = {f"{name}.running_mean": m.mean.flatten() for name, m in seen.items()}
    return means | {f"{name}.running_var": m.var.flatten() for name, m in seen.items()}


def test_recalibration_gives_a_rescaled_network_its_accuracy_back(real: Real):
    batches = real.images.split(BATCH)
    with renorm.using(real.model, renorm.measure(real.model, batches)):
        expected = accuracy(real.model, real.images, real.labels)
    model = rescaled(real.model)
    wrong = copy.deepcopy(model)
    wrong.load_state_dict(wrong.state_dict() | stale(model, batches))
    renorm.recalibrate_(model, batches)
    assert expected > 0.77
    assert abs(accuracy(model, real.images, real.labels) - expected) <= 0.01
    assert accuracy(wrong, real.images, real.labels) < expected - 0.2  # so the test can fail


def test_the_rescaled_network_is_broken_before(real: Real):
    assert accuracy(rescaled(real.model), real.images[:BATCH], real.labels[:BATCH]) < 0.5


def test_the_rescaled_network_has_the_rescaled_bank(real: Real):
    model, batches = rescaled(real.model), real.images[:200].split(100)
    bank, other = renorm.measure(real.model, batches), renorm.measure(model, batches)
    for name, site in bank.sites.items():
        conv = name.replace("bn", "conv") + ".weight"
        ratio = model.get_parameter(conv).flatten(1).norm(dim=1) / real.model.get_parameter(conv).flatten(1).norm(dim=1)
        spread = site.var.sqrt()
        assert_close(other.sites[name].mean / ratio / spread, site.mean / spread, rtol=1e-2, atol=1e-2)
        assert_close(other.sites[name].var / ratio.square(), site.var, rtol=1e-2, atol=1e-5)


def test_split_folded_and_undone_networks_give_identical_outputs(real: Real):
    model, x = copy.deepcopy(real.model), real.images[:64]
    with torch.inference_mode():
        before = model(x)
        state = {key: value.clone() for key, value in model.state_dict().items()}
        conversion = renorm.split_(model, ["weak", "strong"])
        assert_close(model(x), before, rtol=0, atol=0)
        with renorm.route(model, "strong"):
            assert_close(model(x), before, rtol=0, atol=0)
    folded = renorm.fold(model, "strong", probe=x)
    with torch.inference_mode():
        assert_close(folded(x), before, rtol=0, atol=0)
        conversion.undo()
        assert_close(model(x), before, rtol=0, atol=0)
    for key, value in state.items():
        assert_close(model.state_dict()[key], value, rtol=0, atol=0)
        assert_close(folded.state_dict()[key], value, rtol=0, atol=0)


def test_adapting_to_32_noisy_images_helps_on_noise_and_costs_nothing_on_clean_images(real: Real):
    model = copy.deepcopy(real.model)
    clean, noisy = (accuracy(model, x, real.labels) for x in (real.images, real.noisy))
    report = renorm.adapt_(model, real.noisy[:32], prior=64)
    assert accuracy(model, real.noisy, real.labels) > noisy + 0.05
    report.undo()
    report = renorm.adapt_(model, real.images[:32], prior=64)
    assert accuracy(model, real.images, real.labels) > clean - 0.02
    report.undo()
    assert accuracy(model, real.noisy[:BATCH], real.labels[:BATCH]) == accuracy(
        real.model, real.noisy[:BATCH], real.labels[:BATCH]
    )


def test_the_methods_for_one_batch_or_image_help_on_noise_too(real: Real):
    model, x, labels = copy.deepcopy(real.model), real.noisy[:200], real.labels[:200]
    source = accuracy(model, x, labels)
    with renorm.prediction_time(model, 16):
        assert accuracy(model, x, labels) > source + 0.15
    with renorm.prediction_time(model, 16, per_image=True):
        assert accuracy(model, x, labels) > source + 0.05
    with renorm.Tent(model) as tent:
        hits = [
            (tent(part).argmax(1) == y).float().mean() for part, y in zip(x.split(100), labels.split(100), strict=True)
        ]
        assert torch.stack(hits).mean() > source + 0.15
    assert accuracy(model, x, labels) == source


def test_a_second_pass_halves_the_largest_influence_of_batching(real: Real):
    x = real.images[:48]
    one, two = (max(far(real.model, x, passes).values()) for passes in (1, 2))
    assert two < 0.8 * one


def far(model: nn.Module, x: Tensor, passes: int) -> dict[str, float]:
    whole, parts = (renorm.measure(model, x.split(size), passes=passes) for size in (48, 4))
    return whole.distance(parts)
