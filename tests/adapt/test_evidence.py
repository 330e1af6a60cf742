"""How far to move is read off the images: nothing for chance, more for a further shift, the same however they are counted."""

import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.testing import assert_close

import renorm
from renorm.adapt.evidence import auto_weight, image_means
from renorm.adapt.excess import estimate, image_moments, moved
from tests.banks.models import randomize, small, unchanged


def images(size: int, seed: int = 0, scale: float = 1.0, offset: float = 0.0) -> Tensor:
    return scale * torch.randn(size, 3, 8, 8, generator=torch.Generator().manual_seed(seed)) + offset


def source() -> nn.Module:
    """A network whose statistics are those of ``images`` of no scale or offset."""
    model = small().eval()
    renorm.recalibrate_(model, [images(256, seed=9)], passes=2)
    return model


def by_hand(norm: Any, x: Tensor) -> tuple[float, float]:
    """Gap and noise of a first site, image by image and channel by channel."""
    n, channels = x.shape[:2]
    gap = noise = 0.0
    for c in range(channels):
        own = [x[i, c].double().mean().item() for i in range(n)]
        mean = sum(own) / n
        scale = norm.running_var[c].double().item() + norm.eps
        gap += (mean - norm.running_mean[c].double().item()) ** 2 / scale / channels
        noise += sum((m - mean) ** 2 for m in own) / (n - 1) / n / scale / channels
    return gap, noise


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_gap_and_noise_are_those_of_a_loop_over_images(layout: Any):
    x = images(6, offset=0.5).contiguous(memory_format=layout)
    model = nn.Sequential(nn.BatchNorm2d(3)).eval()
    randomize(model)
    gap, noise = by_hand(model[0], x)
    found = renorm.adapt_(model, x, "auto").evidence
    assert found is not None
    assert_close([found.gap.item(), found.noise.item()], [gap, noise], rtol=1e-5, atol=0)
    assert found.sites == ("0",)
    assert found.samples == 6


def test_images_of_the_source_leave_it_bit_for_bit():
    model = source()
    for seed in range(5):
        with unchanged(model):
            report = renorm.adapt_(model, images(16, seed), "auto")
            assert report.source_weight == 1
            assert set(report.distance.values()) == {0.0}
            assert repr(report) == "kept the source: what 16 images show may be chance"


def test_a_shift_is_moved_to_by_half_of_what_is_beyond_noise():
    x, model = images(32, offset=1.0), source()
    before = renorm.Bank.of(model)
    report = renorm.adapt_(model, x, "auto")
    assert 0.3 < report.source_weight <= 0.5
    found = estimate(image_moments(source().get_submodule("0")(x).detach(), 32))
    expected = moved(before.sites["1"], found, report.source_weight)
    after = renorm.Bank.of(model).sites["1"]
    assert_close((after.mean, after.var), (expected.mean, expected.var), rtol=0, atol=0)
    assert_close(report.output, model(x), rtol=0, atol=0)


def test_the_rule():
    gap, noise = torch.tensor([0.26, 0.01, 0.9]), torch.tensor([0.01, 0.01, 0.01])
    assert auto_weight(gap, noise, 32) == 0.5
    assert auto_weight(4 * gap + 0.01, noise, 32) == pytest.approx(1 / (1 + 2 * 1.02), rel=1e-2), (
        "farther, so less source"
    )
    assert auto_weight(torch.tensor([0.019]), torch.tensor([0.01]), 32) == 1, "less than twice its noise is chance"
    assert auto_weight(torch.tensor([0.0]), torch.tensor([0.0]), 32) == 1


def test_one_image_counts_as_one_of_17():
    report = renorm.adapt_(source(), images(1, offset=3.0), "auto")
    assert report.source_weight == 16 / 17


def test_correlated_values_are_not_taken_for_many():
    """Images of one brightness each: a naive noise, of pixels, would call their mean certain."""
    model = nn.Sequential(nn.BatchNorm2d(3)).eval()
    x = torch.randn(8, 3, 1, 1, generator=torch.Generator().manual_seed(1)).expand(8, 3, 32, 32).contiguous()
    naive = x.var() / x[:, 0].numel()
    gap = x.mean((0, 2, 3)).square().mean()
    assert auto_weight(gap[None], naive[None], 8) < 1, "the naive rule must move here, or this test shows nothing"
    assert renorm.adapt_(model, x, "auto").source_weight == 1


def test_rows_of_one_image_belong_together_where_their_order_was_told():
    x = torch.randn(12, 3, 4, 4)
    assert_close(image_means(x, 4, "sample"), x.unflatten(0, (4, 3)).mean((1, 3, 4)))
    assert_close(image_means(x, 4, "time"), x.unflatten(0, (3, 4)).mean((0, 3, 4)))
    assert_close(image_means(x, 1), x.mean((0, 2, 3))[None])  # all are of the only one
    for rows in (image_means(x, 4), image_means(x, 5, "sample")):
        assert_close(rows, x.mean((2, 3)))
    assert_close(image_means(torch.randn(0, 3, 4, 4), 0), torch.zeros(0, 3))


@pytest.mark.parametrize("images_", [torch.full((4, 3, 8, 8), math.nan), torch.full((4, 3, 8, 8), math.inf)])
def test_broken_images_are_refused_and_nothing_changes(images_: Tensor):
    model = source()
    with unchanged(model), pytest.raises(ValueError, match=r"site '1' are not finite[^@]*Look for NaN"):
        renorm.adapt_(model, images_, "auto")


def test_bad_arguments():
    with pytest.raises(ValueError, match=r"'often'.*'auto' or a number"):
        renorm.adapt_(source(), images(4), "often")  # pyright: ignore[reportArgumentType]
    with pytest.raises(ValueError, match=r"prior=auto and weight=0\.5"):
        renorm.adapt_(source(), images(4), "auto", weight=0.5)


@pytest.mark.parametrize("branch", ["weak", "strong"])
def test_each_branch_is_compared_with_its_own_statistics(branch: str):
    model = source()
    renorm.split_(model, ["weak", "strong"])
    bank = renorm.measure(model, [images(256, offset=1.0)], branch="strong", passes=2)
    renorm.install_(model, bank, branch="strong")
    report = renorm.adapt_(model, images(32, seed=3), "auto", branch)
    assert (report.source_weight == 1) == (branch == "weak")
