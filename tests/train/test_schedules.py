"""Learning rates by the step."""

import math

from torch.testing import assert_close

from renorm.train import constant, half_cosine, inverse_decay, linear


def test_half_a_cosine_rises_and_falls_to_zero():
    rates = [half_cosine(step, 0.4, 70, 14) for step in range(70)]
    assert rates.index(max(rates)) == 14
    assert_close(max(rates), 0.4)
    assert rates[:15] == sorted(rates[:15])
    assert rates[14:] == sorted(rates[14:], reverse=True)
    assert_close(rates[14 + 28], 0.2)
    assert 0 < rates[-1] < 0.001
    assert rates[0] > 0


def test_half_a_cosine_ends_at_its_floor_and_stays_there():
    rates = [half_cosine(step, 1.0, 10, floor=0.1) for step in range(14)]
    assert rates[0] == 1.0
    assert_close(rates[5], 0.55)
    assert_close(rates[10:], [0.1] * 4)


def test_training_shorter_than_its_warmup_still_rises():
    assert all(half_cosine(step, 0.1, 2, warmup=10) > 0 for step in range(2))


def test_the_others_are_what_they_say():
    steps = (0, 3, 10, 20)
    assert [constant(step, 0.3) for step in steps] == [0.3] * 4
    assert_close([linear(step, 0.2, 0.1, 10) for step in steps], [0.2, 0.17, 0.1, 0.1])
    assert_close([inverse_decay(step, 1e-4, 5e-5) for step in steps], [1e-4 / (1 + 5e-5 * step) for step in steps])
    assert math.isclose(inverse_decay(160_000, 1e-4, 5e-5), 1e-4 / 9)
