"""Generators and discriminators against the authors' numbers, and spectral norms against singular values."""

from __future__ import annotations

import copy
from contextlib import nullcontext
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.testing import assert_close

import renorm
from renorm.layers import SandwichBatchNorm, Site
from renorm.models import Discriminator, Generator, discriminator, generator
from renorm.models.spectral import Spectral, spectral

LABELS = torch.tensor([0, 2, 1, 1, 0, 2])


def converted(G: Generator, kind: str, num_classes: int = 3) -> Generator:
    names = [str(k) for k in range(num_classes)]
    if kind == "conditional":
        renorm.split_(G, names, share="statistics", sites=G.sites)
    elif kind == "sandwich":
        renorm.sandwich_(G, names, sites=G.sites)
    return G


def fill(shape: Any, a: float, b: float) -> Tensor:
    return (a + b * torch.arange(torch.Size(shape).numel(), dtype=torch.float64).sin()).view(shape)


def given(samples: int, channels: int, *space: int) -> Tensor:
    n = torch.arange(samples * channels * torch.Size(space).numel(), dtype=torch.float64).view(
        samples, channels, *space
    )
    b = torch.arange(samples, dtype=torch.float64).view(samples, *(1,) * (n.ndim - 1))
    c = torch.arange(channels, dtype=torch.float64).view(channels, *(1,) * len(space))
    return (0.7 * n).sin() + 0.5 * (0.13 * n**2 / (1 + n) + b).cos() + 0.2 * c - 0.3 * b


@torch.no_grad()
def fill_(module: Any) -> None:
    """Values that depend on the place in a tensor alone; of classes a table of scales beside biases."""
    own = "branch_" if issubclass(type(module), SandwichBatchNorm) else ""
    for name, p in module._parameters.items():
        if p is not None and issubclass(type(module), Site) and name.startswith(own):
            table = fill((len(module.branches), 2 * module.num_features), 0, 0.1)
            table[:, : module.num_features] += 1
            p.copy_(table.chunk(2, 1)[name.endswith("bias")].reshape(-1))
        elif p is not None:
            is_scale = name == "weight" and issubclass(type(module), (nn.BatchNorm2d, SandwichBatchNorm))
            p.copy_(fill(p.shape, float(is_scale), 0.1))


def filled(model: Any) -> Any:
    for module in model.double().modules():
        fill_(module)
    return model


def numbers(y: Tensor) -> list[float]:
    weights = (0.31 * torch.arange(y.numel(), dtype=torch.float64)).cos()
    return [t.item() for t in (y.sum(), y.abs().sum(), (y.flatten() * weights).sum(), y.flatten()[0], y.flatten()[-1])]


@pytest.mark.parametrize(
    ("name", "kind", "mode", "params", "expected"),
    [
        ("sngan", "plain", "train", 1691, (1015.273318, 4363.986484, 4.648879, 0.109479, 0.243044)),
        ("sngan", "conditional", "train", 1787, (1018.715031, 4231.559216, 16.754099, 0.084364, 0.213964)),
        ("sngan", "sandwich", "train", 1835, (1021.116809, 4278.334880, 18.769088, 0.114346, 0.230079)),
        ("sngan", "sandwich", "eval", 1835, (1062.509609, 1190.788125, -0.051929, -0.000339, 0.092197)),
        ("autogan", "sandwich", "train", 1875, (994.758064, 4324.004238, -12.832173, 0.071322, 0.046135)),
    ],
)
def test_pictures_are_the_authors(name: str, kind: str, mode: str, params: int, expected: tuple[float, ...]):
    G = filled(converted(generator(name, 32, width=4, latent=8), kind))
    assert sum(p.numel() for p in G.parameters()) == params
    z = given(6, 8)
    with torch.no_grad(), nullcontext() if kind == "plain" else renorm.route(G, LABELS):
        y = G.train()(z)
        if mode == "eval":
            y = G.eval()(z)
    assert numbers(y) == pytest.approx(expected, abs=6e-7)


@pytest.mark.parametrize(
    ("name", "plain", "conditional", "sandwich", "other"),
    [
        ("sngan", 4_276_739, 4_304_387, 4_307_459, 1_055_104),
        ("autogan", 4_408_323, 4_435_971, 4_439_043, 1_055_104),
        ("biggan", 4_276_739, 4_304_387, 4_307_459, 4_207_361),
    ],
)
def test_networks_have_the_authors_parameters(name: str, plain: int, conditional: int, sandwich: int, other: int):
    count = lambda model: sum(p.numel() for p in model.parameters())  # noqa: E731
    found = [count(converted(generator(name), kind, 10)) for kind in ("plain", "conditional", "sandwich")]
    assert [*found, count(discriminator(name, 10))] == [plain, conditional, sandwich, other]


def test_networks_of_128_pixels_have_the_authors_parameters():
    count = lambda model: sum(p.numel() for p in model.parameters())  # noqa: E731
    found = [count(converted(generator("sngan", 128), kind, 143)) for kind in ("conditional", "sandwich")]
    assert [*found, count(discriminator("sngan", 143, 128))] == [10_606_339, 10_612_099, 12_311_296]


def test_scores_are_the_authors_and_evaluation_repeats_them():
    D = filled(discriminator("sngan", 3, width=4))
    assert sum(p.numel() for p in D.parameters()) == 1200
    for module in D.modules():
        if isinstance(module, Spectral):
            module.iterate_(next(p for p in parents(D, module)).detach().flatten(1), 300)
    x = given(6, 3, 32, 32).tanh()
    with torch.no_grad():
        y = D.eval()(x, LABELS)
        assert_close(
            y,
            torch.tensor([43.318105, 24.597747, 16.692235, 16.330893, 49.753799, 33.074528], dtype=torch.float64),
            rtol=0,
            atol=6e-7,
        )
        assert torch.equal(D(x, LABELS), y)


def parents(model: nn.Module, wanted: Spectral) -> Any:
    """The tensor that a spectral norm is of."""
    for module in model.modules():
        found: Any = getattr(module, "parametrizations", None)
        if found and found.weight[0] is wanted:
            yield found.weight.original


def test_a_spectral_norm_divides_by_the_largest_singular_value():
    torch.manual_seed(0)
    layer = nn.Conv2d(3, 4, 3)
    weight = layer.weight.detach().clone()
    spectral(layer)
    found: Any = layer.parametrizations.weight[0]  # pyright: ignore[reportAttributeAccessIssue, reportIndexIssue]
    found.iterate_(weight.flatten(1), 500)
    assert_close(layer.weight, weight / torch.linalg.svdvals(weight.flatten(1))[0], rtol=1e-5, atol=1e-7)


def test_a_spectral_norm_of_a_weight_set_afterwards_would_be_stale():
    torch.manual_seed(0)
    layer = spectral(nn.Linear(6, 5)).eval()
    stale: Any = layer
    with torch.no_grad():
        stale.parametrizations.weight.original.copy_(torch.randn(5, 6))
    value = torch.linalg.svdvals(stale.parametrizations.weight.original)[0]
    with pytest.raises(AssertionError):
        assert_close(stale.weight, stale.parametrizations.weight.original / value)


def test_spectral_norms_move_in_training_alone_and_are_exact_under_autocast():
    layer: Any = spectral(nn.Linear(6, 5))
    state = copy.deepcopy(layer.state_dict())
    layer.eval()(torch.randn(2, 6))
    assert all(torch.equal(value, state[key]) for key, value in layer.state_dict().items())
    expected = layer.weight.detach().clone()
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(layer.weight, expected)
    layer.train()(torch.randn(2, 6))
    assert not torch.equal(layer.state_dict()["parametrizations.weight.0.u"], state["parametrizations.weight.0.u"])
    x = torch.randn(2, 6)
    (layer(x) + layer(x)).sum().backward()  # two forwards before backward


@pytest.mark.parametrize("name", ["sngan", "autogan", "biggan"])
@pytest.mark.parametrize("size", [16, 32])
def test_blocks_leave_what_they_are_given(name: str, size: int):
    G, D = generator(name, size, width=4, latent=6), discriminator(name, 2, size, width=4)
    x = G(torch.randn(2, 6))
    assert x.shape == (2, 3, size, size)
    assert x.abs().max() <= 1
    before = x.detach().clone()
    D(x, torch.tensor([0, 1])).sum().backward()
    assert torch.equal(x, before)
    start = torch.randn(2, G.widths[0], 4, 4)
    before = start.clone()
    G.features(start)
    assert torch.equal(start, before)


def test_a_class_folds_to_a_plain_generator_and_another_can_be_added():
    G = converted(generator("sngan", 16, width=4, latent=6), "sandwich").eval()
    filled(G).float()
    assert isinstance(G.norm, nn.BatchNorm2d)  # every class's
    z = torch.randn(3, 6)
    with renorm.route(G, "2"):
        expected = G(z)
    assert_close(renorm.fold(G, "2")(z), expected)
    renorm.add_branch_(G, "owl", like="2")
    with renorm.route(G, "owl"):
        assert torch.equal(G(z), expected)
    with renorm.route(G, torch.full((3,), -1)):  # no class: the affine that all share
        assert not torch.equal(G(z), expected)


def test_what_there_is_not_is_refused():
    for name, size in (("stylegan", 32), ("biggan", 128), ("sngan", 64)):
        with pytest.raises(ValueError, match=rf"{name}' of {size} pixels was asked for.*sngan of 128"):
            generator(name, size)
    with pytest.raises(ValueError, match="discriminator 'autogan' of 128 pixels"):
        discriminator("autogan", 3, 128)
    D: Discriminator = discriminator("sngan", 3, 16, width=2)
    x = torch.zeros(2, 3, 16, 16)
    for labels in ([0, 3], [-1, 0]):
        with pytest.raises(ValueError, match=r"labels between .* The 3 classes are 0 to 2"):
            D(x, torch.tensor(labels))
    with pytest.raises(ValueError, match="a label for each picture"):
        D(x, torch.tensor([0]))
    with pytest.raises(ValueError, match=r"\(N, 128\), a row for each picture"):
        generator("sngan", 16, width=2)(torch.randn(2, 5))
