import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from renorm.evaluate import prediction_change


def outputs(seed: int) -> Tensor:
    return torch.randn(53, 7, generator=torch.Generator().manual_seed(seed))


def test_counts_and_means_are_those_of_a_slow_loop():
    before, after = outputs(0), outputs(1)
    labels = torch.randint(7, (53,), generator=torch.Generator().manual_seed(2))
    found = prediction_change(before, after, labels, seed=3)
    changed = right = wrong = 0
    sure = [0.0, 0.0]
    for one, other, label in zip(before.tolist(), after.tolist(), labels.tolist(), strict=True):
        guesses = [max(range(7), key=values.__getitem__) for values in (one, other)]
        changed += guesses[0] != guesses[1]
        right += guesses[1] == label
        wrong += guesses[0] == label
        for place, values in enumerate((one, other)):
            powers = [2.718281828459045**value for value in values]
            sure[place] += max(powers) / sum(powers)
    assert found.accuracy is not None
    assert found.gain is not None
    numbers = [found.changed.value, *(c.value for c in found.confidence), *(a.value for a in found.accuracy)]
    expected = torch.tensor([changed, *sure, wrong, right], dtype=torch.float64) / 53
    assert_close(torch.tensor(numbers, dtype=torch.float64), expected, rtol=1e-6, atol=1e-9)
    assert found.gain.value == pytest.approx((right - wrong) / 53)
    assert found.gain.low < found.gain.value < found.gain.high
    assert found.images == 53


def test_what_is_the_same_has_changed_nothing_for_sure():
    found = prediction_change(outputs(0), outputs(0), torch.zeros(53, dtype=torch.int64))
    assert tuple(found.changed) == (0, 0, 0)
    assert found.gain is not None
    assert tuple(found.gain) == (0, 0, 0)


def test_pairing_is_narrower_than_two_intervals():
    before, labels = outputs(0), outputs(0).argmax(1)
    after = before.clone()
    after[:3] = -after[:3]
    found = prediction_change(before, after, labels)
    assert found.accuracy is not None
    assert found.gain is not None
    assert found.gain.high - found.gain.low <= sum(each.high - each.low for each in found.accuracy) + 1e-12


def test_without_labels_there_is_no_accuracy():
    assert prediction_change(outputs(0), outputs(1)).accuracy is None


@pytest.mark.parametrize(("one", "other"), [((0, 7), (0, 7)), ((5, 7), (4, 7)), ((5, 7), (5, 6))])
def test_outputs_of_other_images_are_refused(one: tuple[int, int], other: tuple[int, int]):
    with pytest.raises(ValueError, match=r"cannot be compared.*are needed. Evaluate"):
        prediction_change(torch.zeros(one), torch.zeros(other))
