import math
from pathlib import Path

import pytest
import torch
from scipy.stats import kendalltau, spearmanr
from torch import Tensor
from torch.testing import assert_close

from renorm import metrics
from renorm.metrics import ranking


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def two_orders(n: int, values: int | None, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Numbers that agree in part, with ties where there are few values."""
    own = generator(seed)
    a = torch.randn(n, generator=own, dtype=torch.float64)
    b = 0.6 * a + 0.8 * torch.randn(n, generator=own, dtype=torch.float64)
    return (a, b) if values is None else ((a * values / 4).round(), (b * values / 4).round())


def slow(a: list[float], b: list[float]) -> tuple[float, float]:
    """Both correlations, pair by pair."""
    pairs = [(i, j) for i in range(len(a)) for j in range(i)]
    alike = sum(math.copysign(1, (a[i] - a[j]) * (b[i] - b[j])) for i, j in pairs if a[i] != a[j] and b[i] != b[j])
    untied = [sum(x[i] != x[j] for i, j in pairs) for x in (a, b)]
    ranks = [[sum(v < w for v in x) + (sum(v == w for v in x) + 1) / 2 for w in x] for x in (a, b)]
    means = [sum(each) / len(each) for each in ranks]
    gaps = [[r - mean for r in each] for each, mean in zip(ranks, means, strict=True)]
    squares = [sum(g * g for g in each) for each in gaps]
    rho = sum(g * h for g, h in zip(*gaps, strict=True)) / math.sqrt(squares[0] * squares[1])
    return alike / math.sqrt(untied[0] * untied[1]), rho


def naive_kendall(a: Tensor, b: Tensor) -> float:
    """Tau-a: all pairs count, also those that tie."""
    signs = (a[None] - a[:, None]).sign() * (b[None] - b[:, None]).sign()
    return signs.sum().item() / (len(a) * (len(a) - 1))


def naive_spearman(a: Tensor, b: Tensor) -> float:
    """Ties get the ranks of their positions."""
    return torch.corrcoef(torch.stack([x.argsort(stable=True).argsort().double() for x in (a, b)]))[0, 1].item()


@pytest.mark.parametrize("values", [2, 3, 7, None])
@pytest.mark.parametrize("n", [11, 31, 101])
def test_both_equal_a_slow_loop_and_scipys(n: int, values: int | None):
    a, b = two_orders(n, values, seed=2)
    tau, rho = slow(a.tolist(), b.tolist())
    assert_close(metrics.kendall(a, b), tau, rtol=1e-12, atol=1e-12)
    assert_close(metrics.spearman(a, b), rho, rtol=1e-12, atol=1e-12)
    assert_close(metrics.kendall(a, b), kendalltau(a.numpy(), b.numpy())[0], rtol=1e-12, atol=1e-12)
    assert_close(metrics.spearman(a, b), spearmanr(a.numpy(), b.numpy())[0], rtol=1e-12, atol=1e-12)


def test_the_oracle_catches_ties_that_are_counted_or_ordered():
    a, b = two_orders(101, 3)
    tau, rho = slow(a.tolist(), b.tolist())
    for value, naive in ((tau, naive_kendall(a, b)), (rho, naive_spearman(a, b))):
        with pytest.raises(AssertionError):
            assert_close(naive, value, rtol=0, atol=0.01)


@pytest.mark.parametrize("measure", [metrics.kendall, metrics.spearman])
def test_only_the_order_counts(measure):
    a, b = two_orders(60, 9)
    value, shuffled = measure(a, b), torch.randperm(60, generator=generator())
    assert_close(measure(b, a), value)
    assert_close(measure(a.exp(), b**3), value)
    assert_close(measure(-a, b), -value)
    assert_close(measure(a[shuffled], b[shuffled]), value)
    assert_close(measure(a, a), 1.0)
    assert_close(measure((a * 3).int(), b.float()), value)


def test_pairs_in_blocks_are_all_pairs(monkeypatch: pytest.MonkeyPatch):
    a, b = two_orders(97, 6)
    whole = metrics.rank_agreement(a, b, num_resamples=20)
    monkeypatch.setattr(ranking, "PAIRS", 200)
    assert_close(torch.tensor(metrics.rank_agreement(a, b, num_resamples=20)[0]), torch.tensor(whole[0]))


def test_intervals_are_those_of_drawing_one_by_one():
    a, b = two_orders(37, 6)
    own, drawn = generator(3), []
    for _ in range(40):
        picked = torch.randint(37, (37,), generator=own).tolist()
        drawn.append(slow([a[i].item() for i in picked], [b[i].item() for i in picked]))
    ends = torch.tensor(drawn, dtype=torch.float64).quantile(torch.tensor([0.05, 0.95]).double(), 0)
    found = metrics.rank_agreement(a, b, 3, level=0.9, num_resamples=40)
    for interval, low, high in zip(found[:2], *ends.tolist(), strict=True):
        assert_close(torch.tensor(interval[1:]), torch.tensor([low, high]))
    assert found.kendall.value == metrics.kendall(a, b)
    assert found.spearman.value == metrics.spearman(a, b)
    assert found.num_ranked == 37


def test_intervals_cover_the_correlation_of_normal_numbers():
    truth = 2 / math.pi * math.asin(0.6)  # tau of two normal numbers of correlation .6
    intervals = [metrics.rank_agreement(*two_orders(120, None, seed), num_resamples=200).kendall for seed in range(40)]
    assert sum(interval.low <= truth <= interval.high for interval in intervals) >= 35
    assert all(interval.low > 0.15 and interval.high < 0.7 for interval in intervals)


def test_a_difference_on_shared_resamples_is_narrower_than_two_intervals():
    truth, first = two_orders(200, None)
    second = first + 0.2 * torch.randn(200, generator=generator(4), dtype=torch.float64)
    found = metrics.rank_difference(first, second, truth)
    sides = [metrics.rank_agreement(x, truth) for x in (first, second)]
    assert_close(found.kendall.value, sides[0].kendall.value - sides[1].kendall.value)
    assert_close(found.spearman.value, sides[0].spearman.value - sides[1].spearman.value)
    assert found.kendall.high - found.kendall.low < (sides[0].kendall.high - sides[0].kendall.low) / 2
    nothing = metrics.rank_difference(first, first, truth).kendall
    assert nothing == (0, 0, 0)
    assert not nothing.sure


def test_the_better_third_has_all_that_tie():
    assert metrics.better_third(torch.arange(9)).tolist() == [False] * 6 + [True] * 3
    assert metrics.better_third(torch.arange(10)).sum() == 4
    assert metrics.better_third(torch.tensor([5.0, 5.0, 5.0, 1.0])).tolist() == [True, True, True, False]


@pytest.mark.parametrize(
    ("predicted", "message"),
    [
        (torch.ones(40), r"the 40 predicted values 1, 1, 1, \.\.\. order nothing.*not all equal.*right column"),
        (torch.arange(40.0) / 0, r"the 40 predicted values nan, inf.* order nothing.*Leave out what failed"),
        (torch.arange(39.0), r"shape \(39,\) and \(40,\) were given.*each of the same things.*in one order"),
        (torch.ones(40, 2), r"shape \(40, 2\) and \(40,\)"),
    ],
)
def test_what_orders_nothing_is_refused(predicted: Tensor, message: str):
    for measure in (metrics.kendall, metrics.spearman, metrics.rank_agreement):
        with pytest.raises(ValueError, match=message):
            measure(predicted, torch.arange(40.0))
    with pytest.raises(ValueError, match=r"the 40 true values 2, 2, 2, \.\.\. order nothing"):
        metrics.kendall(torch.arange(40), torch.full((40,), 2))


def test_there_is_no_interval_of_fewer_than_thirty():
    few = torch.arange(29.0)
    assert metrics.kendall(few, few) == 1
    for measure in (metrics.rank_agreement, lambda a, b: metrics.rank_difference(a, b, b)):
        with pytest.raises(
            ValueError, match=r"shape \(29,\) and \(29,\).*at least 30 things for an interval. Rank more"
        ):
            measure(few, few)


def test_no_interval_of_values_that_are_almost_all_equal():
    values = torch.zeros(30).index_fill(0, torch.tensor([4]), 1.0)
    with pytest.raises(
        ValueError, match=r"almost all of 30 values to rank are equal.*Values that differ.*Rank more of them"
    ):
        metrics.rank_agreement(values, torch.arange(30.0))


def test_the_number_of_parameters_ranks_the_cells_of_nas_bench_201(data_folder: Path):
    from pyarrow.parquet import read_table

    table = read_table(data_folder / "nasbench201.parquet", columns=["params", "cifar10"])
    params, accuracy = (torch.from_numpy(table[name].to_numpy().copy()) for name in ("params", "cifar10"))
    chosen = torch.randperm(len(params), generator=generator())[:3000]
    found = metrics.rank_agreement(params[chosen], accuracy[chosen], num_resamples=20).kendall
    assert abs(found.value - 0.60) < 0.02
    assert found.high - found.low < 0.04
    better = chosen[metrics.better_third(accuracy[chosen])]
    assert abs(metrics.kendall(params[better], accuracy[better]) - 0.35) < 0.04
