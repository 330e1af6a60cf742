"""What a table bank x shift says, in numbers and in words."""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean

from renorm.corruptions import CORRUPTIONS
from renorm.evaluate import Row


@dataclass(frozen=True)
class Point:
    """One bank: accuracy on clean images and mean accuracy under corruptions, in 0..1, with half widths of 95 %."""

    bank: str
    clean: float
    robust: float
    clean_half: float
    robust_half: float


def banks(rows: Sequence[Row]) -> list[str]:
    """Names of the banks, in the table's order."""
    return list(dict.fromkeys(row.bank for row in rows))


def mean(rows: Sequence[Row]) -> tuple[float, float]:
    """Mean accuracy and half width of its interval.

    The half width is the mean of the cells': an upper bound, since the cells share their images.
    """
    return fmean(row.accuracy for row in rows), fmean((row.high - row.low) / 2 for row in rows)


def points(rows: Sequence[Row]) -> list[Point]:
    """One point per bank that was evaluated both clean and under corruptions."""
    found = []
    for bank in banks(rows):
        clean = [row for row in rows if row.bank == bank and row.shift == "clean"]
        shifted = [row for row in rows if row.bank == bank and row.shift in CORRUPTIONS]
        if clean and shifted:
            (a, a_half), (b, b_half) = mean(clean), mean(shifted)
            found.append(Point(bank, a, b, a_half, b_half))
    return found


def best(found: Sequence[Point]) -> tuple[Point, Point]:
    """The most accurate and the most robust bank; of equals, the one that is better at the other."""
    return max(found, key=lambda p: (p.clean, p.robust)), max(found, key=lambda p: (p.robust, p.clean))


def finding(rows: Sequence[Row]) -> str:
    """One paragraph: which bank is best clean, which under corruptions, and whether the difference can be trusted."""
    found = points(rows)
    if not found:
        return "The table has no bank that was evaluated both on clean images and under corruptions."
    images = min(row.images for row in rows)
    num = len({(row.shift, row.severity) for row in rows if row.shift in CORRUPTIONS})
    under = f"under {num} corruptions" if num > 1 else "under the corruption"
    accurate, robust = best(found)
    sentences = [
        f"On {images:,} clean images the bank {accurate.bank} is the most accurate: {_percent(accurate.clean)} "
        f"(± {_points(accurate.clean_half)})."
    ]
    if robust is not accurate:
        sentences.append(_trade(accurate, robust, under))
    else:
        it = "It is also the most robust, with" if len(found) > 1 else "It has"
        sentences.append(f"{it} {_percent(robust.robust)} on average {under} (± {_points(robust.robust_half)}).")
    return " ".join([*sentences, *_reestimated(found)])


def _trade(accurate: Point, robust: Point, under: str) -> str:
    gain, cost = robust.robust - accurate.robust, accurate.clean - robust.clean
    sure = "more than" if gain > robust.robust_half + accurate.robust_half else "within"
    price = f"at a cost of {_points(cost)} points" if cost >= 0.0005 else "at no cost"
    return (
        f"{under.capitalize()} {robust.bank} leads with {_percent(robust.robust)} on average, {_points(gain)} points above "
        f"{accurate.bank} ({sure} the intervals), {price} on clean images."
    )


def _reestimated(found: Sequence[Point]) -> list[str]:
    by_name = {point.bank: point for point in found}
    pairs = [(point, by_name[f"clean@{point.bank}"]) for point in found if f"clean@{point.bank}" in by_name]
    changes = [f"{_signed(clean.clean - own.clean)} points for {own.bank}" for own, clean in pairs]
    if not changes:
        return []
    return [
        f"Measuring the statistics again on clean training images changes clean accuracy by {' and '.join(changes)}."
    ]


def _percent(value: float) -> str:
    return f"{value:.1%}".replace("%", " %")


def _points(value: float) -> str:
    return f"{100 * value:.1f}"


def _signed(value: float) -> str:
    return f"{100 * value:+.1f}".replace("-", "\N{MINUS SIGN}")
