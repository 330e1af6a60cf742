"""The signal-to-noise ratio of outputs."""

import math

import pytest
import torch

from renorm.metrics import signal_to_noise


def test_it_is_ten_for_each_power_of_ten():
    y = torch.randn(50, 10, generator=torch.Generator().manual_seed(0))
    for power in (1, 2, 3):
        assert math.isclose(signal_to_noise(y * (1 + 10 ** (-power / 2)), y), 10 * power, rel_tol=1e-4)
    assert signal_to_noise(y, y) == math.inf
    assert math.isclose(signal_to_noise(torch.zeros_like(y), y), 0)


def test_it_does_not_depend_on_scale():
    y, z = torch.tensor([1.0, -2.0, 3.0]), torch.tensor([1.5, -2.0, 2.0])
    assert math.isclose(signal_to_noise(7 * z, 7 * y), signal_to_noise(z, y), rel_tol=1e-6)


def test_what_cannot_be_compared_is_refused():
    with pytest.raises(ValueError, match=r"of shapes \(2,\) and \(3,\) .* Evaluate both networks on one batch"):
        signal_to_noise(torch.ones(2), torch.ones(3))
    for bad in (torch.zeros(2), torch.tensor([1.0, torch.nan])):
        with pytest.raises(ValueError, match=r"Both must be finite, and the signal not 0. Look for NaN"):
            signal_to_noise(torch.ones(2), bad)
