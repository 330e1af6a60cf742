"""Colours that pages and pictures share; numbers are readable on all of them, also for the colour-blind."""

from collections.abc import Sequence
from itertools import pairwise

from renorm.metrics import Interval

LINES = ("#2563eb", "#d97706", "#059669", "#7c3aed", "#db2777", "#475569", "#0891b2", "#65a30d")
INK, PAPER, FAINT = "#1e293b", "#ffffff", "#64748b"
EDGE, LINE = "#94a3b8", "#e2e8f0"  # of axes, of grids
SEQUENTIAL = ("#fffbeb", "#fde9b0", "#b7e2c3", "#5fbcbd", "#2387a8", "#1d4f8c")  # from low to high
DIVERGING = ("#b4530a", "#e59a4d", "#f8d9b4", "#f8fafc", "#bfe0ea", "#4aa3c0", "#1c6c96")
LEAST = 0.1  # range of accuracies that the colours span at least, so that noise is not painted as news
LEAST_CHANGE = 0.02


def color(position: float, stops: Sequence[str]) -> str:
    """The colour at a position from 0 to 1 between stops that are equally far apart."""
    position = min(max(position, 0.0), 1.0) * (len(stops) - 1)
    one, other = list(pairwise(stops))[min(int(position), len(stops) - 2)]
    share = position - min(int(position), len(stops) - 2)
    mixed = (round(a + share * (b - a)) for a, b in zip(_rgb(one), _rgb(other), strict=True))
    return "#" + "".join(f"{part:02x}" for part in mixed)


def ink_on(background: str) -> str:
    """The colour of text on a background, dark or light, whichever is easier to read."""
    level = _luminance(background)
    dark, light = (level + 0.05) / (_luminance(INK) + 0.05), (_luminance(PAPER) + 0.05) / (level + 0.05)
    return INK if dark > light else PAPER


def _luminance(text: str) -> float:
    """Relative luminance of sRGB as WCAG 2 defines it, on which its contrast of two colours rests."""
    linear = (p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in (part / 255 for part in _rgb(text)))
    return sum(weight * part for weight, part in zip((0.2126, 0.7152, 0.0722), linear, strict=True))


def span(numbers: Sequence[Interval]) -> tuple[float, float]:
    """The accuracies that the ends of the colours stand for."""
    values = [number.value for number in numbers] or [0.0, 1.0]
    low, high = min(values), max(values)
    return min(low, high - LEAST), high


def of_accuracy(number: Interval, ends: tuple[float, float]) -> str:
    """The colour of an accuracy."""
    return color((number.value - ends[0]) / (ends[1] - ends[0]), SEQUENTIAL)


def of_change(number: Interval, numbers: Sequence[Interval]) -> str:
    """The colour of a difference, pale if its interval holds 0."""
    most = max(LEAST_CHANGE, *(abs(each.value) for each in numbers))
    return color(0.5 + 0.5 * number.value / most * (1 if number.sure else 0.25), DIVERGING)


def _rgb(text: str) -> tuple[int, int, int]:
    return int(text[1:3], 16), int(text[3:5], 16), int(text[5:7], 16)
