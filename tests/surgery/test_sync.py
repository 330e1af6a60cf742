"""Statistics pooled over ranks, of norms that are left out of a conversion too."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn
from torch.testing import assert_close

import renorm
from renorm.layers import SplitBatchNorm
from tests.surgery.zoo import Doubling, images, small, tensors

BRANCHES = ["weak", "strong"]


@pytest.mark.parametrize("convert", [renorm.split_, renorm.sandwich_])
def test_norms_left_out_are_synchronized_and_have_no_branches(convert: Any):
    plain, model = small().eval(), small().eval()
    report = convert(model, BRANCHES, sites="1", sync="world")
    rest: Any = model[4]
    assert type(rest) is SplitBatchNorm
    assert rest.sync == model.get_submodule("1").sync == "world"
    assert (list(report.converted), list(report.synchronized), report.left) == (["1"], ["4"], {})
    assert "statistics pooled over ranks, no branches: 4" in repr(report)
    for key in ("weight", "bias", "running_mean", "running_var"):
        assert_close(getattr(rest, key), getattr(plain[4], key), rtol=0, atol=0)
    for branch in BRANCHES:
        with renorm.route(model, branch):
            assert_close(model(images()), plain(images()), rtol=0, atol=0)
    model.load_state_dict(plain.state_dict())
    assert_close(tensors(renorm.fold(model, "strong")), tensors(plain), rtol=0, atol=0)
    report.undo()
    assert [type(m) for m in model] == [type(m) for m in plain]
    assert_close(tensors(model), tensors(plain), rtol=0, atol=0)


def test_their_batch_is_that_of_all_branches():
    model, plain = small().train(), small().train()
    renorm.split_(model, BRANCHES, sites="4", sync="world")
    with renorm.route(model, *BRANCHES):
        model(images())
    plain[1](plain[0](images()))
    assert_close(model[1].get_buffer("running_mean"), plain[1].get_buffer("running_mean"))


def test_without_sync_they_are_left():
    model = small()
    report = renorm.split_(model, BRANCHES, sites="1")
    assert type(model[4]) is nn.BatchNorm2d
    assert (report.synchronized, report.left) == ({}, {"4": "not among sites="})


def test_those_of_unknown_classes_are_left_and_said():
    model = nn.Sequential(nn.BatchNorm2d(3), Doubling(3))
    report = renorm.split_(model, BRANCHES, sites="0", sync="world")
    assert type(model[1]) is Doubling
    assert report.left == {"1": "not among sites="}
    assert "left alone: 1 (not among sites=)" in repr(report)


def test_a_parameter_that_a_norm_left_out_has_too_is_not_mixed_up():
    model = nn.Sequential(nn.BatchNorm2d(3), nn.BatchNorm2d(3))
    model[1].weight = model[0].weight
    renorm.split_(model, BRANCHES, sites="0", sync="world")
    assert [m.get_parameter("weight").shape for m in model] == [(6,), (3,)]
    with renorm.route(model, *BRANCHES):
        model(torch.randn(4, 3, 2, 2)).sum().backward()
