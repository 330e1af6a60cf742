from __future__ import annotations

import pytest
import torch
from torch import nn

from renorm.models import ResNeXt
from tests.models.counting import conv, linear, norm, parameters


def counted(depth: int, groups: int, width: int) -> int:
    total, before = conv(3, 64, 3) + norm(64), 64
    for stage, after in enumerate((256, 512, 1024)):
        inner = groups * width * 2**stage
        for block in range((depth - 2) // 9):
            total += conv(before, inner, 1) + norm(inner) + conv(inner, inner, 3, groups) + norm(inner)
            total += conv(inner, after, 1) + norm(after)
            total += 0 if block else conv(before, after, 1) + norm(after)
            before = after
    return total + linear(1024, 10)


@pytest.mark.parametrize(("groups", "width"), [(8, 64), (16, 64), (4, 24), (1, 64)])
def test_the_number_of_parameters_is_the_counted_one(groups: int, width: int):
    with torch.device("meta"):
        model = ResNeXt(29, groups, width)
    assert parameters(model) == counted(29, groups, width)


def test_the_number_of_parameters_is_the_published_one():
    with torch.device("meta"):
        assert round(parameters(ResNeXt(29, 8, 64)) / 1e6, 1) == 34.4


def test_only_the_3x3_convolutions_inside_are_grouped():
    convolutions = [m for m in ResNeXt(11, 4, 6).modules() if isinstance(m, nn.Conv2d)]
    found = {(m.kernel_size[0], m.groups) for m in convolutions}
    assert found == {(3, 1), (1, 1), (3, 4)}
    assert [m.out_channels for m in convolutions if m.groups == 4] == [24, 48, 96]


@pytest.mark.parametrize(
    ("given", "use"),
    [((30, 4, 24), "resnext29-4x24d"), ((1, 4, 24), "resnext11-4x24d"), ((29, 0, 24), "resnext29-1x24d")],
)
def test_what_is_no_resnext_is_refused(given: tuple[int, int, int], use: str):
    depth, groups, width = given
    with pytest.raises(ValueError, match=rf"depth of {depth} with {groups} groups of {width}: .*9n \+ 2.*Use {use}\."):
        ResNeXt(*given)
