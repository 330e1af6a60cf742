import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from renorm import metrics


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def slow_ece(confidence: list[float], hit: list[bool], num_bins: int) -> float:
    total = 0.0
    for b in range(num_bins):
        low, high = b / num_bins, (b + 1) / num_bins
        inside = [i for i, c in enumerate(confidence) if low <= c < high or (b == num_bins - 1 and c == 1)]
        if inside:
            mean = sum(confidence[i] for i in inside) / len(inside)
            total += len(inside) / len(hit) * abs(sum(hit[i] for i in inside) / len(inside) - mean)
    return total


@pytest.fixture
def scores() -> tuple[Tensor, Tensor]:
    logits = torch.randn(211, 7, generator=generator(), dtype=torch.double) * 2
    return logits, torch.randint(7, (211,), generator=generator(1))


def test_accuracy_and_likelihood_by_hand():
    logits = torch.tensor([[0.0, 1.0], [2.0, 0.0], [0.0, 3.0], [1.0, 0.0]])
    labels = torch.tensor([1, 0, 0, 0])
    assert metrics.correct(logits, labels).tolist() == [True, True, False, True]
    assert metrics.accuracy(logits, labels) == 0.75
    expected = -logits.double().log_softmax(1)[range(4), labels].mean()
    assert_close(metrics.nll(logits, labels), expected.item())


def test_calibration_equals_a_slow_loop(scores: tuple[Tensor, Tensor]):
    logits, labels = scores
    confidence = logits.softmax(1).max(1).values.tolist()
    expected = slow_ece(confidence, metrics.correct(logits, labels).tolist(), 15)
    assert_close(metrics.ece(logits, labels), expected, rtol=1e-6, atol=1e-6)


def test_confidence_of_exactly_one_is_in_the_last_bin():  # trap 23
    logits = torch.tensor([[100.0, 0.0]] * 3 + [[3.5, 0.0]] * 2)
    labels = torch.tensor([0, 1, 1, 0, 0])
    confidence = logits.double().softmax(1).max(1).values.clamp(max=1)
    assert confidence[0] == 1
    assert 14 / 15 < confidence[3] < 1
    expected = slow_ece(confidence.tolist(), [True, False, False, True, True], 15)
    assert_close(metrics.ece(logits, labels), expected, rtol=1e-6, atol=1e-6)


def test_bootstrap_interval_is_that_of_the_binomial():
    values = torch.zeros(400).index_fill(0, torch.arange(320), 1.0)
    interval = metrics.bootstrap(values, generator())
    width = 1.96 * (0.8 * 0.2 / 400) ** 0.5
    assert_close(interval.value, 0.8)
    assert_close(torch.tensor(interval), torch.tensor([0.8, 0.8 - width, 0.8 + width]), rtol=0, atol=0.005)
    assert interval == metrics.bootstrap(values, generator())
    assert f"{interval:.0%}".startswith("80% [")


def test_paired_difference_is_narrower_than_two_intervals():
    a = torch.zeros(300).index_fill(0, torch.arange(150), 1.0)
    b = torch.zeros(300).index_fill(0, torch.arange(140), 1.0)
    paired = metrics.paired_difference(a, b, generator())
    alone = metrics.bootstrap(a, generator())
    assert paired.low > 0
    assert paired.high - paired.low < (alone.high - alone.low) / 2


def test_errors_say_what_is_needed():
    with pytest.raises(ValueError, match=r"shape \(0,\).*at least one image.*Pass a vector"):
        metrics.bootstrap(torch.zeros(0), generator())
    with pytest.raises(ValueError, match=r"3 values cannot be paired with 2"):
        metrics.paired_difference(torch.zeros(3), torch.zeros(2), generator())
    with pytest.raises(ValueError, match=r"\(4, 2\) do not go with labels of shape \(3,\)"):
        metrics.accuracy(torch.zeros(4, 2), torch.zeros(3, dtype=torch.long))
