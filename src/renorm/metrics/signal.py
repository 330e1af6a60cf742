"""How much of an output is still there after a network was changed."""

from __future__ import annotations

import math

from torch import Tensor


def signal_to_noise(found: Tensor, expected: Tensor) -> float:
    r"""The ratio of a signal to what was added to it, in decibels.

    .. math:: 10 \log_{10} \frac{\sum y^2}{\sum (\hat y - y)^2}

    20 dB is an error of a tenth, 0 dB one as large as the signal; equal tensors have infinitely much.

    Shape: any, alike in both.

    Args:
        found: what a changed network gives.
        expected: what the network gave before.

    Raises:
        ValueError: other shapes, numbers that are not finite, or no signal at all.

    Example:
        >>> round(signal_to_noise(torch.tensor([1.1, 2.2]), torch.tensor([1.0, 2.0])))
        20
    """
    if found.shape != expected.shape:
        raise ValueError(
            f"outputs of shapes {tuple(found.shape)} and {tuple(expected.shape)} were given. They must be of the same images. "
            "Evaluate both networks on one batch."
        )
    signal = float(expected.double().square().sum())
    noise = float((found.double() - expected.double()).square().sum())
    if not (math.isfinite(signal) and math.isfinite(noise)) or signal == 0:
        raise ValueError(
            f"a signal of {signal:g} and noise of {noise:g} were given. Both must be finite, and the signal not 0. Look for NaN."
        )
    return math.inf if noise == 0 else 10 * math.log10(signal / noise)
