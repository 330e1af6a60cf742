"""What every network for small images keeps to."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import nn
from torch.testing import assert_close

import renorm
from renorm.models import create
from tests.surgery import zoo

SMALL = (
    "resnet8",
    "wrn-10-1",
    "preact-resnet18",
    "vgg11-bn",
    "densenet-bc-10-4",
)
NETWORKS = pytest.mark.parametrize("name", SMALL)


def images(n: int = 2, size: int = 16) -> torch.Tensor:
    return torch.randn(n, 3, size, size, generator=torch.Generator().manual_seed(5))


@NETWORKS
@pytest.mark.parametrize("size", [32, 64])
def test_shapes(name: str, size: int):
    with torch.device("meta"):
        model = create(name, num_classes=7, in_channels=2)
        assert model(torch.zeros(3, 2, size, size)).shape == (3, 7)


@NETWORKS
def test_a_split_network_equals_the_plain_one_and_folds_back(name: str):
    model = zoo.randomize_(create(name, num_classes=7)).eval()
    x = images()
    expected, keys = model(x), set(model.state_dict())
    renorm.split_(model, ["weak", "strong"])
    assert_close(model(x), expected, rtol=0, atol=0)
    plain = renorm.fold(model, "strong", probe=x)
    assert set(plain.state_dict()) == keys
    assert_close(plain(x), expected)


@NETWORKS
def test_every_parameter_learns_from_every_branch(name: str):
    model = create(name, num_classes=7)
    renorm.split_(model, ["weak", "strong"])
    with renorm.route(model, "weak", "strong"):
        model(images(4)).square().mean().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters())


@NETWORKS
def test_compiled_equals_eager_without_a_graph_break(name: str):
    torch.compiler.reset()
    model: Any = create(name).eval()
    compiled = torch.compile(model, fullgraph=True, backend="eager")
    with torch.no_grad():
        assert_close(compiled(images()), model(images()))


@NETWORKS
def test_channels_last_equals_contiguous(name: str):
    model = zoo.randomize_(create(name)).double().eval()
    x = images().double()
    expected = model(x)
    model.to(memory_format=torch.channels_last)
    assert_close(model(x.contiguous(memory_format=torch.channels_last)), expected)


@NETWORKS
def test_convolutions_start_by_he_and_norms_as_identity(name: str):
    torch.manual_seed(7)
    model = create(name)
    drawn = torch.cat([standardized(m) for m in model.modules() if isinstance(m, nn.Conv2d)])
    sampling = 4 / math.sqrt(len(drawn))
    assert abs(drawn.mean()) < sampling
    assert abs(drawn.var() - 1) < sampling * math.sqrt(2)
    assert abs(drawn.pow(4).mean() - 3) < sampling * math.sqrt(96)  # as of normal numbers
    norms = [m for m in model.modules() if isinstance(m, nn.BatchNorm2d)]
    assert all(bool((m.weight == 1).all()) and not m.bias.any() for m in norms)
    assert not model.get_parameter("linear.bias").any()


def standardized(conv: nn.Conv2d) -> torch.Tensor:
    """Weights in units of sqrt(2 / fan out)."""
    fan = conv.out_channels * math.prod(conv.kernel_size)
    return conv.weight.detach().flatten() * math.sqrt(fan / 2)
