"""How the branches of a conversion start: as copies, or as published for training from scratch."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch.testing import assert_close

import renorm
from tests.surgery.zoo import images, small, tensors

BRANCHES = ["weak", "strong"]


def drawn(seed: int = 0, **options: Any) -> Any:
    model: Any = small()
    renorm.split_(model, BRANCHES, init="published", generator=torch.Generator().manual_seed(seed), **options)
    return model


def test_published_scales_are_drawn_for_each_branch_and_nothing_else_changes():
    plain, model = small(), drawn()
    scales = torch.cat([model[k].weight.detach() for k in (1, 4)])
    assert abs(scales.mean() - 1) < 4 * 0.02 / scales.numel() ** 0.5
    assert 0.01 < scales.std() < 0.03
    for k in (1, 4):
        assert not model[k].bias.any()
        weak, strong = model[k].weight.view(2, -1)
        assert not torch.equal(weak, strong)
        for key in ("running_mean", "running_var"):
            assert_close(getattr(model[k], key).view(2, -1)[1], plain[k].get_buffer(key), rtol=0, atol=0)
    assert_close(tensors(drawn()), tensors(model), rtol=0, atol=0)
    assert not torch.equal(drawn(1)[1].weight, model[1].weight)


def test_branches_that_share_their_affine_share_what_is_drawn():
    assert drawn(share="affine")[1].weight.shape == (5,)


def test_undoing_gives_back_what_was_before_the_draw():
    model = small()
    before = tensors(model)
    report = renorm.split_(model, BRANCHES, init="published", generator=torch.Generator().manual_seed(0))
    report.undo()
    assert_close(tensors(model), before, rtol=0, atol=0)


def test_copies_are_the_default_and_change_no_output():
    model = small().eval()
    before = model(images()).clone()
    renorm.split_(model, BRANCHES, init="identity")
    assert_close(model(images()), before, rtol=0, atol=0)
    with pytest.raises(AssertionError):  # so the law can fail
        assert_close(drawn().eval()(images()), before, rtol=0, atol=0)


@pytest.mark.parametrize(
    ("init", "message"),
    [
        ("published", r"without a generator. Its scales are drawn at random. Pass generator="),
        ("zeros", r"init='zeros' was given. Affines start as the identity or as published. Use 'identity' or"),
    ],
)
def test_what_cannot_be_drawn_is_refused_and_nothing_changes(init: str, message: str):
    model = small()
    before = list(model)
    with pytest.raises(ValueError, match=message):
        renorm.split_(model, BRANCHES, init=init)
    assert list(model) == before
