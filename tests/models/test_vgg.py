from __future__ import annotations

from itertools import pairwise

import pytest
import torch
from torch import nn
from torch.testing import assert_close

from renorm.models import VGG
from tests.models.counting import conv, linear, norm, parameters

WIDTHS = {  # the columns A, B, D and E of the paper's table
    11: "64 M 128 M 256 256 M 512 512 M 512 512 M",
    13: "64 64 M 128 128 M 256 256 M 512 512 M 512 512 M",
    16: "64 64 M 128 128 M 256 256 256 M 512 512 512 M 512 512 512 M",
    19: "64 64 M 128 128 M 256 256 256 256 M 512 512 512 512 M 512 512 512 512 M",
}


@pytest.mark.parametrize("depth", WIDTHS)
def test_layers_and_parameters_are_the_counted_ones(depth: int):
    with torch.device("meta"):
        model = VGG(depth)
    layers = [m for m in model.features.modules() if isinstance(m, nn.Conv2d | nn.MaxPool2d)]
    assert " ".join(str(m.out_channels) if isinstance(m, nn.Conv2d) else "M" for m in layers) == WIDTHS[depth]
    widths = [3] + [int(width) for width in WIDTHS[depth].split() if width != "M"]
    convolutions = sum(conv(a, b, 3) + norm(b) for a, b in pairwise(widths))
    assert parameters(model) == convolutions + linear(512, 10)


@pytest.mark.parametrize("size", [8, 17, 45])
def test_any_size_however_small(size: int):
    assert VGG(11, 5)(torch.zeros(2, 3, size, size + 3)).shape == (2, 5)


def test_dropout_acts_in_training_only():
    model = VGG(11, dropout=0.5)
    x = torch.randn(2, 3, 8, 8)
    assert not torch.equal(model(x), model(x))
    model.eval()
    assert_close(model(x), model(x), rtol=0, atol=0)


@pytest.mark.parametrize(("depth", "nearest"), [(18, 19), (1, 11), (17, 16)])
def test_an_unknown_depth_is_refused(depth: int, nearest: int):
    with pytest.raises(
        ValueError, match=rf"depth of {depth} is none of VGG's: 11, 13, 16 or 19 is needed\. Use vgg{nearest}-bn"
    ):
        VGG(depth)
