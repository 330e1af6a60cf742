"""Records of images that fade: exact for any batching, and honest about how well they are known."""

from collections.abc import Sequence
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from renorm.adapt.memory import (
    Memory,
    SiteRecord,
    Weights,
    by_image,
    joined,
    pooled,
    record_of,
    variance,
    variation,
    weights_of,
)
from renorm.functional import Moments, instance_moments


def features(num: int = 23, *space: int) -> Tensor:
    generator = torch.Generator().manual_seed(1)
    return torch.randn(num, 3, *(space or (5,)), generator=generator, dtype=torch.float64) * 2 + 3


def gathered(x: Tensor, sizes: Sequence[int], decay: float, *, one_block: bool = False) -> tuple[SiteRecord, Weights]:
    """The record of a stream that comes in batches of these sizes, each a block of its own."""
    record, weights = None, Weights()
    for part in x.split(list(sizes)):
        batch = weights_of(len(part), decay)
        weights = weights.aged(decay ** len(part))
        record = joined(record, record_of(instance_moments(part), decay), weights.share_of(batch), one_block=one_block)
        weights = weights.joined(batch, one_block=one_block)
    assert record is not None
    return record, weights


def by_hand(x: Tensor, decay: float) -> tuple[Tensor, Tensor, Tensor]:
    """Mean, biased variance and variance of the images' means, from all values and their weights."""
    w = torch.tensor([decay ** (len(x) - 1 - i) for i in range(len(x))], dtype=torch.float64)
    values, means = x.transpose(0, 1).flatten(1), x.mean(2).T
    each = w.repeat_interleave(x.shape[2]) / (w.sum() * x.shape[2])
    mean = (values * each).sum(1)
    var = ((values - mean[:, None]) ** 2 * each).sum(1)
    return mean, var, ((means - mean[:, None]) ** 2 * (w / w.sum())).sum(1)


@pytest.mark.parametrize("decay", [1.0, 0.9])
@pytest.mark.parametrize("sizes", [[23], [1] * 23, [5, 11, 7], [22, 1]])
def test_moments_are_exact_for_any_batching(sizes: list[int], decay: float):
    x = features()
    record, weights = gathered(x, sizes, decay)
    mean, var, spread = by_hand(x, decay)
    assert_close(record.mean, mean)
    assert_close(record.within + record.spread, var)
    assert_close(record.spread, spread)
    age = torch.arange(22, -1, -1, dtype=torch.float64)
    assert_close(weights.total, float((decay**age).sum()))
    assert_close(weights.effective, float((decay**age).sum() ** 2 / (decay ** (2 * age)).sum()))
    assert weights.images == 23


def test_the_law_of_batching_catches_averaged_variances():
    x = features() + torch.arange(23.0)[:, None, None]
    averaged = torch.stack([part.transpose(0, 1).flatten(1).var(1, correction=0) for part in x.split(5)]).mean(0)
    with pytest.raises(AssertionError):
        assert_close(averaged, by_hand(x, 1.0)[1], rtol=0.1, atol=0)


def test_means_far_from_zero_do_not_cancel():
    record, _ = gathered(features() * 1e-3 + 1e6, [4] * 5 + [3], 0.9)
    assert_close(record.within + record.spread, by_hand(features() * 1e-3, 0.9)[1], rtol=1e-4, atol=0)


def test_the_variance_is_unbiased_and_needs_two_values():
    x = features(7)
    record, weights = gathered(x, [3, 4], 1.0)
    assert_close(variance(record, weights, 5), x.transpose(0, 1).flatten(1).var(1))
    one, alone = gathered(features(1, 1), [1], 1.0)
    assert variance(one, alone, 1) is None


@pytest.mark.parametrize("sizes", [[5, 11, 7], [8, 8, 7], [1] * 23])
def test_what_images_and_blocks_vary_by_are_the_mean_squares_of_a_one_way_layout(sizes: list[int]):
    means, unit = features().mean(2), torch.tensor([1.0, 2.0, 4.0], dtype=torch.float64)
    record, weights = gathered(features(), sizes, 1.0)
    images, blocks = variation(record, weights, unit)
    groups = means.split(sizes)
    between = sum(len(g) * (g.mean(0) - means.mean(0)) ** 2 for g in groups) / (len(groups) - 1)
    assert_close(images, (means.var(0) / unit).mean())
    assert_close(blocks, (torch.as_tensor(between) / unit).mean())


@pytest.mark.parametrize("decay", [1.0, 0.95])
def test_both_expect_the_variance_of_an_image_where_images_are_independent(decay: float):
    generator = torch.Generator().manual_seed(2)
    x = torch.randn(96, 2000, 1, generator=generator, dtype=torch.float64)  # many channels: one long average
    record, weights = gathered(x, [16, 5, 16, 27, 16, 16], decay)
    images, blocks = variation(record, weights, x.new_ones(2000))
    assert_close(images, x.new_ones(()), rtol=0.03, atol=0)
    assert_close(blocks, x.new_ones(()), rtol=0.1, atol=0)


def test_a_single_image_cannot_tell_and_a_single_block_tells_what_its_images_do():
    one, alone = gathered(features(1), [1], 0.9)
    assert variation(one, alone, one.mean.abs())[0] == torch.inf
    record, weights = gathered(features(), [9, 14], 0.9, one_block=True)
    images, blocks = variation(record, weights, record.mean.abs())
    assert images == blocks


@pytest.mark.parametrize("order", ["sample", "time"])
def test_rows_of_an_image_are_pooled_in_the_order_that_was_told(order: Any):
    x = features(12, 4)
    rows = by_image(instance_moments(x), 4, order)
    own = x.unflatten(0, (4, 3)) if order == "sample" else x.unflatten(0, (3, 4)).transpose(0, 1)
    whole = instance_moments(own.transpose(1, 2).flatten(2))
    assert rows is not None
    assert_close(rows.mean, whole.mean)
    assert_close(rows.var, whole.var)
    assert rows.count == 12
    assert by_image(instance_moments(x), 5, order) is None
    assert by_image(instance_moments(x), 4) is None


def test_closed_blocks_and_the_open_one_pool_as_blocks():
    x = features()
    record, weights = gathered(x[:16], [8, 8], 1.0)
    block = Memory(weights_of(7, 1.0), None, {"it": record_of(instance_moments(x[16:]), 1.0)})
    whole = pooled(Memory(weights, None, {"it": record}), block)
    expected, sums = gathered(x, [8, 8, 7], 1.0)
    assert whole.weights == sums
    for field, value in zip(expected._fields, expected, strict=True):
        if field != "wobble":
            assert_close(getattr(whole.records["it"], field), value)
    assert pooled(block, Memory()) is block


def test_weights_do_not_depend_on_batching():
    for sizes in ([23], [1] * 23, [4, 19]):
        _, weights = gathered(features(), sizes, 0.8)
        assert_close(weights.total, sum(0.8**i for i in range(23)))


def test_moments_of_half_precision_are_kept_in_double():
    record = record_of(Moments(torch.ones(2, 3, dtype=torch.bfloat16), torch.ones(2, 3, dtype=torch.bfloat16), 4), 0.9)
    assert all(t.dtype == torch.float64 for t in record)
