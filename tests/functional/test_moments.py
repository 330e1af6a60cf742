"""Moments: merging, pooling, exactness."""

from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.testing import assert_close

from renorm import functional
from renorm.functional import Moments, passes


def chunks(x, sizes):
    return [functional.moments(part, [0]) for part in x.split(sizes)]


def naive(a, b):
    """E[x^2] - E[x]^2, as many libraries pool."""
    n = a.count + b.count
    mean = (a.count * a.mean + b.count * b.mean) / n
    square = (a.count * (a.var + a.mean**2) + b.count * (b.var + b.mean**2)) / n
    return Moments(mean, square - mean**2, n)


@pytest.mark.parametrize("sizes", [[12], [6, 6], [1, 2, 9], [1] * 12, [0, 5, 0, 7]])
def test_merging_does_not_depend_on_how_data_is_cut(sizes):
    x = torch.randn(12, 3, dtype=torch.float64) * 0.01 + 100
    whole = functional.moments(x, [0])
    pooled = Moments(torch.zeros(1, 3), torch.zeros(1, 3), 0.0)
    for part in x.split(sizes):
        if len(part):
            pooled = functional.merge(pooled, functional.moments(part, [0]))
    assert_close(pooled.mean, whole.mean, rtol=1e-12, atol=0)
    assert_close(pooled.var, whole.var, rtol=1e-9, atol=0)
    assert pooled.count == 12


def test_the_merge_law_catches_cancellation():
    x = torch.randn(12, 3) * 0.01 + 100
    a, b = chunks(x, [5, 7])
    whole = functional.moments(x.double(), [0])
    assert_close(functional.merge(a, b).var.double(), whole.var, rtol=2e-2, atol=1e-8)
    with pytest.raises(AssertionError):
        assert_close(naive(a, b).var.double(), whole.var, rtol=2e-2, atol=1e-8)


@given(st.lists(st.integers(0, 4), min_size=1, max_size=20))
def test_pooling_equals_the_moments_of_each_population(labels):
    index = torch.tensor(labels)
    x = torch.randn(len(labels), 3, 2, 7, dtype=torch.float64) + index.view(-1, 1, 1, 1)
    pooled: Any = functional.pool(functional.instance_moments(x), index, 5)
    for k in range(5):
        if (index == k).any():
            want = functional.moments(x[index == k], [0, 2, 3])
            assert_close(pooled.mean[k], want.mean.flatten())
            assert_close(pooled.var[k], want.var.flatten())
        assert pooled.count[k] == 14 * int((index == k).sum())


def test_pooling_without_an_index_is_one_population():
    x = torch.randn(5, 3, 2, 7)
    one = functional.pool(functional.instance_moments(x))
    same: Any = functional.pool(functional.instance_moments(x), torch.zeros(5, dtype=torch.int64), 1)
    assert_close(one.mean, same.mean)
    assert_close(one.var, same.var)
    assert one.count == same.count.item() == 70


@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
@pytest.mark.parametrize("few", [0, 10**9])
def test_batch_moments_equal_the_plain_formula(few, dtype, memory_format, monkeypatch):
    monkeypatch.setattr(passes, "FEWEST", few)
    x = (torch.randn(5, 3, 7, 2) + 10).to(dtype).contiguous(memory_format=memory_format)
    got, want = functional.batch_moments(x), functional.moments(x.double(), [0, 2, 3])
    assert got.mean.dtype == (torch.float64 if dtype == torch.float64 else torch.float32)
    assert_close(got.mean.double(), want.mean.flatten(), rtol=1e-5, atol=1e-6)
    assert_close(got.var.double(), want.var.flatten(), rtol=1e-4, atol=1e-6)
    assert got.count == 70


@pytest.mark.parametrize("shape", [(4, 3), (4, 3, 5), (4, 3, 2, 5), (4, 3, 2, 1, 5), (1, 1, 1, 1)])
def test_batch_moments_of_any_rank(shape):
    x = torch.randn(shape)
    want = functional.moments(x, [0, *range(2, len(shape))])
    assert_close(functional.batch_moments(x).mean, want.mean.flatten())
    assert_close(functional.batch_moments(x).var, want.var.flatten())


def test_unbiased_is_what_pytorch_stores():
    x = torch.randn(7, 3)
    norm = torch.nn.BatchNorm1d(3, momentum=1.0)
    norm(x)
    m = functional.batch_moments(x)
    assert_close(functional.unbiased(m), norm.running_var)
    assert_close(functional.unbiased(Moments(m.mean, m.var, 1.0)), m.var)
