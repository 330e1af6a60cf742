"""Learning rates as pure functions of the step, counted from 0."""

import math


def half_cosine(step: int, peak: float, horizon: int, warmup: int = 0, floor: float = 0.0) -> float:
    r"""Rise linearly to a peak, then fall as half a cosine to a floor, and stay there.

    .. math:: f + \tfrac{1}{2} (p - f) \left(1 + \cos \pi \frac{t - w}{h - w}\right), \qquad w \le t \le h

    Args:
        step: t.
        peak: p, the highest rate.
        horizon: h, the step at which the floor is reached.
        warmup: w, steps in which the rate grows; at most all before the horizon but one.
        floor: f, the lowest rate after the peak.

    Reference: Loshchilov & Hutter, *SGDR: stochastic gradient descent with warm restarts*, ICLR 2017, without restarts.

    Example:
        >>> [half_cosine(step, peak=0.4, horizon=4) for step in (0, 2, 4, 9)]
        [0.4, 0.2, 0.0, 0.0]
    """
    rising = min(warmup, horizon - 1)
    if step < rising:
        return peak * (step + 1) / (rising + 1)
    fallen = math.pi * (min(step, horizon) - rising) / (horizon - rising)
    return floor + (peak - floor) * 0.5 * (1 + math.cos(fallen))


def constant(step: int, rate: float) -> float:
    """The same rate at every step."""
    return rate


def linear(step: int, start: float, end: float, horizon: int) -> float:
    """Go straight from one rate to another, and stay there.

    Example:
        >>> [linear(step, 1.0, 0.0, horizon=4) for step in (0, 1, 4, 5)]
        [1.0, 0.75, 0.0, 0.0]
    """
    return start + (end - start) * min(step / horizon, 1)


def inverse_decay(step: int, start: float, decay: float) -> float:
    r"""Fall as the inverse of the steps.

    .. math:: \frac{s}{1 + d t}

    Args:
        step: t.
        start: s.
        decay: d, per step.

    Example:
        >>> inverse_decay(0, 1e-4, 0.5), inverse_decay(2, 1e-4, 0.5)
        (0.0001, 5e-05)
    """
    return start / (1 + decay * step)
