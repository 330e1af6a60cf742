"""Radii and steps as people write them."""

from __future__ import annotations

from fractions import Fraction

from renorm.attacks.search import Ball

USUAL = {"linf": 8 / 255, "l2": 0.5}  # on CIFAR-10, as in most papers


def radius(given: float | str | None, ball: Ball, name: str = "eps") -> float:
    """A radius in units of 0 to 1, from a number or a fraction; by default the usual one of the ball.

    Raises:
        ValueError: If it is neither.

    Example:
        >>> 255 * radius("8/255", "linf"), radius(None, "l2")
        (8.0, 0.5)
    """
    if given is None:
        return USUAL[ball]
    try:
        return float(Fraction(given))
    except (ValueError, ZeroDivisionError, OverflowError) as error:
        raise ValueError(
            f"{name} {given!r} is no number: a length in units of 0 to 1 is needed, as a number or a fraction. Try 8/255."
        ) from error
