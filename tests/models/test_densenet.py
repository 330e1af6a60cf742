from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.testing import assert_close

from renorm.models import DenseNet
from renorm.models.densenet import DenseLayer, Transition
from tests.models.counting import conv, linear, norm, parameters


def counted(depth: int, growth: int) -> int:
    layers = (depth - 4) // 6
    channels = 2 * growth
    total = conv(3, channels, 3)
    for block in range(3):
        for _ in range(layers):
            total += norm(channels) + conv(channels, 4 * growth, 1)
            total += norm(4 * growth) + conv(4 * growth, growth, 3)
            channels += growth
        if block < 2:
            total += norm(channels) + conv(channels, channels // 2, 1)
            channels //= 2
    return total + norm(channels) + linear(channels, 10)


@pytest.mark.parametrize(("depth", "growth", "millions"), [(100, 12, 0.8), (250, 24, 15.3), (190, 40, 25.6)])
def test_the_number_of_parameters_is_the_counted_and_published_one(depth: int, growth: int, millions: float):
    with torch.device("meta"):
        model = DenseNet(depth, growth)
    assert parameters(model) == counted(depth, growth)
    assert round(parameters(model) / 1e6, 1) == millions


def test_depth_counts_weighted_layers():
    weighted = [m for m in DenseNet(22, 3).modules() if isinstance(m, nn.Conv2d | nn.Linear)]
    assert len(weighted) == 22


def test_a_layer_keeps_its_input_and_adds_its_growth():
    x = torch.randn(2, 6, 5, 7)
    y = DenseLayer(6, 3, dropout=0.0)(x)
    assert y.shape == (2, 9, 5, 7)
    assert_close(y[:, :6], x, rtol=0, atol=0)


def test_a_transition_takes_means_and_keeps_the_last_row_of_odd_sides():
    transition = Transition(2, 2, dropout=0.0).eval()
    with torch.no_grad():
        transition.conv.weight.copy_(torch.eye(2).view(2, 2, 1, 1))
    transition.bn.eps = 0.0
    x = torch.rand(1, 2, 5, 4)
    expected = torch.cat([x[:, :, :4].unfold(2, 2, 2).mean(-1), x[:, :, 4:]], 2).unfold(3, 2, 2).mean(-1)
    assert_close(transition(x), expected)


def test_dropout_acts_in_training_only():
    model = DenseNet(10, 4, dropout=0.5)
    x = torch.randn(2, 3, 8, 8)
    assert not torch.equal(model(x), model(x))
    model.eval()
    assert_close(model(x), model(x), rtol=0, atol=0)


@pytest.mark.parametrize(("depth", "growth", "use"), [(101, 12, "100-12"), (4, 12, "10-12"), (100, 0, "100-1")])
def test_what_is_no_densenet_is_refused(depth: int, growth: int, use: str):
    with pytest.raises(ValueError, match=rf"depth of {depth} with a growth of {growth}: .*Use densenet-bc-{use}\."):
        DenseNet(depth, growth)
