from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.testing import assert_close

from renorm.models import ResNet
from renorm.models.resnet import BasicBlock


@pytest.mark.parametrize(("depth", "millions"), [(20, 0.27), (32, 0.46), (44, 0.66), (56, 0.85), (110, 1.7)])
def test_the_number_of_parameters_is_the_published_one(depth: int, millions: float):
    count = sum(p.numel() for p in ResNet(depth).parameters())
    assert round(count / 1e6, 2 if depth < 110 else 1) == millions


def test_depth_counts_weighted_layers():
    weighted = [m for m in ResNet(32).modules() if isinstance(m, nn.Conv2d | nn.Linear)]
    assert len(weighted) == 32


def test_the_shortcut_takes_every_second_pixel_and_adds_zeros_on_both_sides():
    x = torch.randn(2, 3, 5, 7)
    y = BasicBlock(3, 7, stride=2).shortcut(x)
    assert y.shape == (2, 7, 3, 4)
    assert_close(y[:, 2:5], x[:, :, ::2, ::2])
    assert not y[:, :2].any()
    assert not y[:, 5:].any()


def test_any_input_size_and_channels():
    assert ResNet(8, 5, in_channels=2)(torch.zeros(3, 2, 17, 11)).shape == (3, 5)


@pytest.mark.parametrize(("depth", "nearest"), [(18, 20), (1, 8), (55, 56)])
def test_a_depth_that_is_not_6n_plus_2_is_refused(depth: int, nearest: int):
    message = rf"depth of {depth} is not 6n \+ 2.*Use {nearest}, or .*torchvision:resnet18"
    with pytest.raises(ValueError, match=message):
        ResNet(depth)
