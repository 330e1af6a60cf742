from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.testing import assert_close

from renorm.models import PreActResNet
from tests.models.counting import conv, linear, norm, parameters


def counted(blocks: tuple[int, ...]) -> int:
    total, before = conv(3, 64, 3), 64
    for stage, channels in enumerate((64, 128, 256, 512)):
        for _ in range(blocks[stage]):
            total += norm(before) + conv(before, channels, 3) + norm(channels) + conv(channels, channels, 3)
            total += conv(before, channels, 1) if before != channels else 0
            before = channels
    return total + norm(512) + linear(512, 10)


@pytest.mark.parametrize(("depth", "blocks"), [(18, (2, 2, 2, 2)), (34, (3, 4, 6, 3))])
def test_the_number_of_parameters_is_the_counted_one(depth: int, blocks: tuple[int, ...]):
    with torch.device("meta"):
        model = PreActResNet(depth)
    assert parameters(model) == counted(blocks)
    weighted = [m for m in model.modules() if isinstance(m, nn.Linear) or getattr(m, "kernel_size", 0) == (3, 3)]
    assert len(weighted) == depth


def test_a_block_whose_shape_stays_hands_on_its_input_untouched():
    block = PreActResNet(18).layer1[0].eval()
    nn.init.zeros_(block.get_parameter("conv2.weight"))
    x = torch.randn(2, 64, 5, 5)
    assert_close(block(x), x, rtol=0, atol=0)


def test_the_shortcut_that_changes_the_shape_sees_the_pre_activation():
    block = PreActResNet(18).layer2[0].eval()
    nn.init.zeros_(block.get_parameter("conv2.weight"))
    negative = -torch.rand(2, 64, 6, 6) - 1
    assert not block(negative).any()


def test_an_unknown_depth_is_refused():
    with pytest.raises(
        ValueError, match=r"depth of 50 is none.*18 or 34 is needed\. Use preact-resnet18 .*resnetv2_50"
    ):
        PreActResNet(50)
