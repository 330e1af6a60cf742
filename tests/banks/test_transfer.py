"""Statistics of a changed network from the original's, by what any images show of the change."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.testing import assert_close

import renorm
from tests.laws import hashed
from tests.surgery.zoo import images, small


def batches(shift: float = 0.0) -> list[Tensor]:
    return [images() + shift, images() * 1.5 + shift]


def test_where_nothing_changed_the_source_stays_bit_for_bit():
    original: Any = small().eval()
    changed = copy.deepcopy(original)
    before = hashed(original)
    renorm.recalibrate_(changed, batches(2.0), original=original)
    assert_close(changed.state_dict(), original.state_dict(), rtol=0, atol=0)
    assert hashed(original) == before
    renorm.recalibrate_(changed, batches(2.0))
    assert (
        changed[1].running_mean - original[1].running_mean
    ).abs().max() > 0.1  # measured alone they go to the images


def test_channels_that_are_scaled_and_moved_are_followed_exactly_on_any_images():
    """A change that is affine by channel is undone by the norm, whatever images show it."""
    original = small().eval()
    changed: Any = copy.deepcopy(original)
    with torch.no_grad():
        changed[0].weight.mul_(torch.linspace(0.5, 2, len(changed[0].weight)).view(-1, 1, 1, 1))
        changed[0].bias.mul_(torch.linspace(0.5, 2, len(changed[0].bias))).add_(0.3)
    x = images()
    assert (changed(x) - original(x)).abs().max() > 0.1
    report = renorm.recalibrate_(changed, batches(3.0), original=original)
    assert_close(changed(x), original(x), rtol=1e-3, atol=1e-3)
    report.undo()
    assert (changed(x) - original(x)).abs().max() > 0.1


def test_a_branch_is_moved_by_its_own_difference():
    original: Any = small().eval()
    renorm.split_(original, ["weak", "strong"])
    changed = copy.deepcopy(original)
    with torch.no_grad():
        changed[0].weight.mul_(1.5)
    kept = changed[1].running_mean.view(2, -1)[0].clone()
    renorm.recalibrate_(changed, batches(), "strong", original=original)
    assert_close(changed[1].running_mean.view(2, -1)[0], kept, rtol=0, atol=0)
    assert (changed[1].running_mean.view(2, -1)[1] - kept).abs().max() > 1e-3


def test_channels_without_variance_are_moved_by_their_means():
    model: Any = nn.Sequential(nn.Conv2d(1, 1, 1), nn.BatchNorm2d(1)).eval()
    changed = copy.deepcopy(model)
    with torch.no_grad():
        changed[0].bias.add_(2.0)
    renorm.recalibrate_(changed, [torch.zeros(4, 1, 3, 3)], original=model)
    assert_close(changed[1].running_mean, model[1].running_mean + 2)
    assert_close(changed[1].running_var, model[1].running_var)


def test_what_is_no_original_is_refused():
    model = small().eval()
    before = hashed(model)
    with pytest.raises(
        ValueError, match=r"has no statistics for site '1', which the changed model has.* was made from"
    ):
        renorm.recalibrate_(model, batches(), original=nn.Sequential(nn.Sequential(*small())).eval())
    with pytest.raises(ValueError, match=r"an iterator was given for two models\. .* Pass a list or a DataLoader"):
        renorm.recalibrate_(model, iter(batches()), original=small().eval())
    assert hashed(model) == before
