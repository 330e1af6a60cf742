"""What a table bank x shift says, in numbers and in words."""

from collections.abc import Sequence
from dataclasses import dataclass

from renorm.corruptions import CORRUPTIONS
from renorm.evaluate import Results
from renorm.metrics import Interval
from renorm.report.grid import OTHER, Shift, accuracies, changes, family_of, halves

CLEAN: Shift = ("clean", 0)


@dataclass(frozen=True)
class Point:
    """One bank: accuracy on clean images and mean accuracy under the other shifts, in 0..1, with 95 % intervals."""

    bank: str
    clean: Interval
    robust: Interval


def away(shifts: Sequence[Shift]) -> list[Shift]:
    """The shifts that robustness is measured under: corruptions, or where there are none domains and stored images."""
    corrupted = [shift for shift in shifts if shift[0] in CORRUPTIONS]
    return corrupted or [shift for shift in shifts if family_of(shift[0]) == OTHER]


def under(shifts: Sequence[Shift]) -> str:
    """Those shifts, in words."""
    names = {name for name, _ in shifts}
    if not names <= set(CORRUPTIONS):
        return f"on {len(names)} other sets of images" if len(names) > 1 else f"on {min(names)}"
    return f"under {len(names)} corruptions" if len(names) > 1 else f"under {min(names).replace('_', ' ')}"


def points(results: Results) -> list[Point]:
    """One point per bank that was evaluated both on clean images and under others."""
    shifts = results.shifts
    if CLEAN not in shifts or not away(shifts):
        return []
    found = [(bank, *accuracies(results, bank)([[CLEAN], away(shifts)])) for bank in results.banks]
    return [Point(bank, clean, robust) for bank, clean, robust in found if clean is not None and robust is not None]


def limits(numbers: Sequence[Interval]) -> tuple[float, float]:
    """Ends of an axis that shows numbers with their intervals, but for intervals much longer than the numbers are apart."""
    values = [number.value for number in numbers]
    most = max(max(values) - min(values), 0.02)
    low = min(number.value - min(halves(number), most) for number in numbers)
    high = max(number.value + min(halves(number), most) for number in numbers)
    margin = 0.06 * (high - low)
    return low - margin, high + margin


def best(found: Sequence[Point]) -> tuple[Point, Point]:
    """The most accurate and the most robust bank; of equals, the one that is better at the other."""

    def clean(point: Point) -> tuple[float, float]:
        return point.clean.value, point.robust.value

    return max(found, key=clean), max(found, key=lambda point: clean(point)[::-1])


def finding(results: Results) -> str:
    """One paragraph: which bank is best clean, which elsewhere, and whether the difference can be trusted."""
    found = points(results)
    if not found:
        return _leader(results)
    accurate, robust = best(found)
    clean = next(row.count for row in results.rows if row.shift == "clean")
    sentences = [
        f"On {clean:,} clean images the bank {accurate.bank} is the most accurate: "
        f"{percent(accurate.clean.value)} (± {_points(halves(accurate.clean))})."
    ]
    where = under(away(results.shifts))
    if robust is not accurate:
        sentences.append(_trade(results, accurate, robust, where))
    else:
        it = "It is also the most robust, with" if len(found) > 1 else "It has"
        spread = _points(halves(robust.robust))
        sentences.append(f"{it} {percent(robust.robust.value)} on average {where} (± {spread}).")
    return " ".join([*sentences, *_reestimated(found)])


def _leader(results: Results) -> str:
    """Of a table without clean images, or with nothing else."""
    shifts = results.shifts
    measured = {bank: accuracies(results, bank)([shifts])[0] for bank in results.banks}
    found = {bank: interval for bank, interval in measured.items() if interval is not None}
    if not found:
        return "No bank was evaluated under all shifts of the table."
    leader = max(found, key=lambda bank: found[bank].value)
    over = f"over {len(shifts)} shifts" if len(shifts) > 1 else f"under {shifts[0][0].replace('_', ' ')}"
    value, spread = percent(found[leader].value), _points(halves(found[leader]))
    leads = "is the most accurate" if len(found) > 1 else "has"
    return f"The bank {leader} {leads} {over}: {value} (± {spread})."


def _trade(results: Results, accurate: Point, robust: Point, where: str) -> str:
    banks, cost = (accurate.bank, robust.bank), accurate.clean.value - robust.clean.value
    (gain,) = changes(results, results, banks)([away(results.shifts)])
    value = robust.robust.value - accurate.robust.value
    paired = f" ({signed(gain.low)} to {signed(gain.high)}, paired by image)" if gain else ""
    price = f"at a cost of {_points(cost)} points" if cost >= 0.0005 else "at no cost"
    return (
        f"{where.capitalize()} {robust.bank} leads with {percent(robust.robust.value)} on average, {_points(value)} points "
        f"above {accurate.bank}{paired}, {price} on clean images."
    )


def _reestimated(found: Sequence[Point]) -> list[str]:
    by_name = {point.bank: point.clean.value for point in found}
    pairs = [(bank, by_name[f"clean@{bank}"] - value) for bank, value in by_name.items() if f"clean@{bank}" in by_name]
    if not pairs:
        return []
    changed = " and ".join(f"{signed(change)} points for {bank}" for bank, change in pairs)
    return [f"Measuring the statistics again on clean training images changes clean accuracy by {changed}."]


def percent(value: float) -> str:
    """A share as people write it."""
    return f"{value:.1%}".replace("%", " %")


def signed(value: float) -> str:
    """A difference of shares in points, with its sign."""
    return f"{100 * value:+.1f}".replace("-", "\N{MINUS SIGN}")


def _points(value: float) -> str:
    return f"{100 * value:.1f}"
