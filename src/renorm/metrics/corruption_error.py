"""Errors under the fifteen standard corruptions as one number: relative to AlexNet's.

Reference: Hendrycks & Dietterich, *Benchmarking Neural Network Robustness to Common Corruptions and Perturbations*,
ICLR 2019, section 4.
"""

import difflib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeVar

from torch import Tensor

from renorm.corruptions import STANDARD

Value = TypeVar("Value", float, Tensor)


@dataclass(frozen=True)
class AlexNet:
    """Errors of AlexNet in 0..1, on images of a side of ``scale`` pixels and so many classes.

    Args:
        errors: Under each corruption, mean of the five severities.
        scale: Whose severity tables the errors belong to.
        classes: How many.
        clean: On clean images, where it was published.
    """

    errors: Mapping[str, float]
    scale: int
    classes: int
    clean: float | None = None


def _table(*percent: float) -> dict[str, float]:
    return dict(zip(STANDARD, (value / 100 for value in percent), strict=True))


ALEXNET = {
    # The authors' published evaluation; the clean error is that of torchvision's AlexNet, which they evaluated.
    "imagenet": AlexNet(
        _table(
            *(88.6428, 89.4468, 92.2640, 81.9880, 82.6268, 78.5948, 79.8360),
            *(86.6816, 82.6572, 81.9324, 56.4592, 85.3204, 64.6056, 71.7840, 60.6500),
        ),
        scale=224,
        classes=1000,
        clean=0.43478,
    ),
    # The next two: Benz et al., Revisiting Batch Normalization for Improving Corruption Robustness, WACV 2021.
    "cifar10": AlexNet(
        _table(
            *(25.84, 25.102, 30.084, 30.662, 30.328, 37.378, 34.576),
            *(30.212, 32.398, 37.776, 26.932, 51.958, 30.35, 25.248, 24.516),
        ),
        scale=32,
        classes=10,
    ),
    "cifar100": AlexNet(
        _table(
            *(61.448, 60.07, 66.594, 61.368, 61.268, 65.894, 63.438),
            *(66.192, 68.484, 68.874, 62.692, 75.924, 61.83, 57.462, 58.216),
        ),
        scale=32,
        classes=100,
    ),
}


def alexnet(name: str) -> AlexNet:
    """AlexNet's published errors on a data set.

    Raises:
        ValueError: If there are none, saying which there are.
    """
    if name not in ALEXNET:
        close = difflib.get_close_matches(name, ALEXNET, n=1)
        meant = f"Did you mean {close[0]!r}?" if close else "Report the mean error, which needs no reference."
        raise ValueError(
            f"no errors of AlexNet were published for {name!r}: there are tables for {', '.join(ALEXNET)}, and a mean "
            f"corruption error needs one. {meant}"
        )
    return ALEXNET[name]


def corruption_error(errors: Mapping[str, Value], data: str) -> Value:
    r"""Mean corruption error (mCE): :math:`\frac{100}{15} \sum_c E_c / E_c^{\mathrm{AlexNet}}`; AlexNet's own is 100.

    Args:
        errors: Under each of the fifteen corruptions the mean error of the severities, in 0..1; or what each image
            contributes to it, ``(N,)``.
        data: Whose table: ``imagenet``, ``cifar10``, ``cifar100``.

    Raises:
        ValueError: If there is no table for the data, or a corruption is missing or not one of the fifteen.

    Example:
        >>> half = {name: error / 2 for name, error in alexnet("cifar10").errors.items()}
        >>> round(corruption_error(half, "cifar10"), 6)
        50.0
    """
    reference = alexnet(data)
    _check(errors)
    return _mean([errors[name] / reference.errors[name] for name in STANDARD])


def relative_corruption_error(errors: Mapping[str, Value], clean: Value, data: str) -> Value:
    r"""Relative mCE: :math:`\frac{100}{15} \sum_c (E_c - E_0) / (E_c^{\mathrm{AlexNet}} - E_0^{\mathrm{AlexNet}})`.

    Args:
        errors: As in :func:`corruption_error`.
        clean: Error on clean images.
        data: Whose table; AlexNet's clean error was published for ``imagenet`` only.

    Raises:
        ValueError: Likewise, or if there is no clean error of AlexNet.
    """
    reference = alexnet(data)
    if reference.clean is None:
        known = ", ".join(name for name, each in ALEXNET.items() if each.clean is not None)
        raise ValueError(
            f"no clean error of AlexNet was published for {data!r}: a relative mCE needs it, and it is known for {known}. "
            "Report the mCE instead."
        )
    _check(errors)
    return _mean([(errors[name] - clean) / (reference.errors[name] - reference.clean) for name in STANDARD])


def _check(errors: Mapping[str, object]) -> None:
    missing, foreign = (sorted(set(x) - set(y)) for x, y in ((STANDARD, errors), (errors, STANDARD)))
    if missing or foreign:
        what = f"{', '.join(missing)} missing" if missing else f"{', '.join(foreign)} not among them"
        raise ValueError(
            f"errors under {len(errors)} corruptions, with {what}: a mean corruption error is over exactly the fifteen "
            "standard ones. Evaluate with --shifts standard."
        )


def _mean(ratios: list[Value]) -> Value:
    total = ratios[0]
    for ratio in ratios[1:]:
        total = total + ratio
    return total * (100 / len(ratios))
