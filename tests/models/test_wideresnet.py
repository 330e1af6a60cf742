from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.testing import assert_close

from renorm.models import WideResNet


@pytest.mark.parametrize(("depth", "width", "millions"), [(28, 2, 1.5), (40, 1, 0.6), (16, 4, 2.7)])
def test_the_number_of_parameters_is_the_published_one(depth: int, width: int, millions: float):
    count = sum(p.numel() for p in WideResNet(depth, width).parameters())
    assert abs(count / 1e6 - millions) < 0.06


def test_depth_counts_3x3_convolutions_and_the_ends():
    convolutions = [m for m in WideResNet(28, 1).modules() if isinstance(m, nn.Conv2d) and m.kernel_size == (3, 3)]
    assert len(convolutions) == 28 - 3  # the published depth counts the three 1x1 shortcuts too


def test_any_input_size_and_channels():
    assert WideResNet(10, 2, 5, in_channels=2)(torch.zeros(3, 2, 17, 11)).shape == (3, 5)


def test_dropout_acts_in_training_only():
    model = WideResNet(10, 1, dropout=0.5)
    x = torch.randn(4, 3, 8, 8)
    assert not torch.equal(model(x), model(x))
    model.eval()
    assert_close(model(x), model(x), rtol=0, atol=0)


def test_a_depth_that_is_not_6n_plus_4_is_refused():
    with pytest.raises(ValueError, match=r"depth of 27 is not 6n \+ 4.*Use wrn-28-2"):
        WideResNet(27, 2)
