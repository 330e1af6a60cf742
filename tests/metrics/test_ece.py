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


def test_calibration_equals_a_slow_loop(scores: tuple[Tensor, Tensor]):
    logits, labels = scores
    confidence = logits.softmax(1).max(1).values.tolist()
    expected = slow_ece(confidence, metrics.correct(logits, labels).tolist(), 15)
    assert_close(metrics.ece(logits, labels), expected, rtol=1e-12, atol=1e-12)


def test_confidence_of_exactly_one_is_in_the_last_bin():
    logits = torch.tensor([[100.0, 0.0]] * 3 + [[3.5, 0.0]] * 2)
    labels = torch.tensor([0, 1, 1, 0, 0])
    confidence = logits.double().softmax(1).max(1).values.clamp(max=1)
    assert confidence[0] == 1
    assert 14 / 15 < confidence[3] < 1
    expected = slow_ece(confidence.tolist(), [True, False, False, True, True], 15)
    assert_close(metrics.ece(logits, labels), expected, rtol=1e-12, atol=1e-12)
