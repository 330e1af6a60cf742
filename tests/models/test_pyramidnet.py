from __future__ import annotations

from fractions import Fraction

import pytest
import torch
from torch import nn
from torch.testing import assert_close

from renorm.models import PyramidNet
from renorm.models.pyramidnet import PyramidBlock
from tests.models.counting import conv, linear, norm, parameters


def counted(depth: int, alpha: int, bottleneck: bool) -> int:
    blocks = (depth - 2) // (9 if bottleneck else 6) * 3
    widths = [round(16 + Fraction(k * alpha, blocks)) for k in range(1, blocks + 1)]
    total, before = conv(3, 16, 3) + norm(16), 16
    for d in widths:
        total += norm(before) + 2 * norm(d)
        if bottleneck:
            total += conv(before, d, 1) + conv(d, d, 3) + conv(d, 4 * d, 1) + norm(4 * d)
        else:
            total += conv(before, d, 3) + conv(d, d, 3)
        before = 4 * d if bottleneck else d
    return total + norm(before) + linear(before, 10)


@pytest.mark.parametrize(
    ("depth", "alpha", "bottleneck"),
    [(110, 48, False), (110, 270, False), (164, 270, True), (200, 240, True), (272, 200, True), (8, 0, False)],
)
def test_the_number_of_parameters_is_the_counted_one(depth: int, alpha: int, bottleneck: bool):
    with torch.device("meta"):
        model = PyramidNet(depth, alpha, bottleneck=bottleneck)
    assert parameters(model) == counted(depth, alpha, bottleneck)
    assert len([m for m in model.modules() if isinstance(m, nn.Conv2d | nn.Linear)]) == depth


def test_channels_grow_by_alpha_in_equal_steps():
    model = PyramidNet(20, 45)
    widths = [norms[-1].num_features for stage in (model.layer1, model.layer2, model.layer3) for norms in bns(stage)]
    assert widths == [21, 26, 31, 36, 41, 46, 51, 56, 61]


def bns(stage: nn.Module) -> list[nn.ModuleList]:
    return [block.bns for block in stage.modules() if isinstance(block, PyramidBlock)]


@pytest.mark.parametrize("bottleneck", [False, True])
def test_the_shortcut_takes_means_and_adds_zeros_at_the_end(bottleneck: bool):
    block = PyramidBlock(3, 5, stride=2, bottleneck=bottleneck)
    channels = 20 if bottleneck else 5
    x = torch.randn(2, 3, 6, 4)
    y = block.shortcut(x)
    assert y.shape == block(x).shape == (2, channels, 3, 2)
    assert_close(y[:, :3], x.unfold(2, 2, 2).unfold(3, 2, 2).mean((-1, -2)))
    assert not y[:, 3:].any()
    odd = torch.randn(2, 3, 7, 5)
    assert block(odd).shape == (2, channels, 4, 3)
    assert_close(block.shortcut(odd)[0, :3, -1, -1], odd[0, :, -1, -1])


@pytest.mark.parametrize(
    ("depth", "alpha", "bottleneck", "use"),
    [
        (111, 270, False, "pyramidnet-110-270"),
        (110, -1, False, "pyramidnet-110-0"),
        (8, 12, True, "pyramidnet-11-12-bottleneck"),
    ],
)
def test_what_is_no_pyramidnet_is_refused(depth: int, alpha: int, bottleneck: bool, use: str):
    with pytest.raises(ValueError, match=rf"depth of {depth} with alpha {alpha}: .*needs a depth of .*Use {use}\."):
        PyramidNet(depth, alpha, bottleneck=bottleneck)
