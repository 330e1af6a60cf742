"""What a table bank x shift says, in numbers and in words."""

from collections.abc import Sequence
from dataclasses import dataclass

from renorm.corruptions import CORRUPTIONS
from renorm.evaluate import Results, label
from renorm.metrics import Interval
from renorm.report.grid import OTHER, ShiftKey, accuracies, changes, family_of, halves
from renorm.report.heat import signed

CLEAN: ShiftKey = ("clean", 0)


@dataclass(frozen=True)
class Point:
    """One bank: accuracy on clean images and mean accuracy under the other shifts, in 0..1, with 95 % intervals."""

    bank: str
    clean: Interval
    robust: Interval


def away(shifts: Sequence[ShiftKey]) -> list[ShiftKey]:
    """The shifts that robustness is measured under: corruptions, or where there are none domains and stored images."""
    corrupted = [shift for shift in shifts if shift[0] in CORRUPTIONS]
    return corrupted or [shift for shift in shifts if family_of(shift[0]) == OTHER]


def under(shifts: Sequence[ShiftKey]) -> str:
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
    """The banks of the highest accuracy clean and elsewhere; of equals, the one that is better at the other."""

    def clean(point: Point) -> tuple[float, float]:
        return point.clean.value, point.robust.value

    return max(found, key=clean), max(found, key=lambda point: clean(point)[::-1])


def equals(results: Results, top: str, banks: Sequence[str], group: Sequence[ShiftKey]) -> list[str]:
    """The banks that may be as good as the top one under some shifts: its lead over them may be chance."""
    others = [bank for bank in banks if bank != top]
    leads = [changes(results, results, (other, top))([group])[0] for other in others]
    return [other for other, lead in zip(others, leads, strict=True) if lead is None or lead.low <= 0]


def sources(banks: Sequence[str]) -> dict[str, str]:
    """Of each bank that was adapted to the shifts, the one that it was before."""
    own = {bank: bank.partition("@")[2] or "source" for bank in banks if bank.partition("@")[0] == "adapted"}
    return {bank: before for bank, before in own.items() if before in banks}


def finding(results: Results) -> str:
    """One paragraph: which bank is best clean, which elsewhere, and whether that can be trusted."""
    found = points(results)
    if not found:
        return _leader(results)
    accurate, robust = best(found)
    banks = [point.bank for point in found]
    clean = next(row.count for row in results.rows if row.shift == "clean")
    value = f"{percent(accurate.clean.value)} (± {_points(halves(accurate.clean))})"
    same = equals(results, accurate.bank, banks, [CLEAN])
    first = (
        f"On {clean:,} clean images the bank {accurate.bank} has the highest accuracy, {value}, {_chance(same)}."
        if same
        else f"On {clean:,} clean images the bank {accurate.bank} is the most accurate: {value}."
    )
    same = equals(results, robust.bank, banks, away(results.shifts))
    second = _also(robust, same, banks, results) if robust is accurate else _trade(results, accurate, robust, same)
    return " ".join([first, second, *_reestimated(results, found)])


def _chance(same: Sequence[str]) -> str:
    """That a lead may be chance, and over whom."""
    return f"which may be chance: {_and(same)} cannot be told from it"


def _also(robust: Point, same: Sequence[str], banks: Sequence[str], results: Results) -> str:
    """Of a bank that has the highest accuracy on clean images, too."""
    where, spread = under(away(results.shifts)), _points(halves(robust.robust))
    value = f"{percent(robust.robust.value)} on average {where} (± {spread})"
    if len(banks) == 1:
        return f"It has {value}."
    return (
        f"It also has the highest, {value}, {_chance(same)}." if same else f"It is also the most robust, with {value}."
    )


def _leader(results: Results) -> str:
    """Of a table without clean images, or with nothing else."""
    shifts = results.shifts
    measured = {bank: accuracies(results, bank)([shifts])[0] for bank in results.banks}
    found = {bank: interval for bank, interval in measured.items() if interval is not None}
    if not found:
        return "No bank was evaluated under all shifts of the table."
    leader = max(found, key=lambda bank: found[bank].value)
    over = f"over {len(shifts)} shifts" if len(shifts) > 1 else f"under {shifts[0][0].replace('_', ' ')}"
    value = f"{percent(found[leader].value)} (± {_points(halves(found[leader]))})"
    same = equals(results, leader, list(found), shifts)
    if same:
        return f"The bank {leader} has the highest accuracy {over}, {value}, {_chance(same)}."
    leads = "is the most accurate" if len(found) > 1 else "has"
    return f"The bank {leader} {leads} {over}: {value}."


def _trade(results: Results, accurate: Point, robust: Point, same: Sequence[str]) -> str:
    """Of another bank than the one of the highest accuracy on clean images."""
    where = under(away(results.shifts))
    banks, cost = (accurate.bank, robust.bank), accurate.clean.value - robust.clean.value
    gain, loss = changes(results, results, banks)([away(results.shifts), [CLEAN]])
    value = robust.robust.value - accurate.robust.value
    paired = f" ({signed(gain.low)} to {signed(gain.high)}, paired by image)" if gain else ""
    luck = "" if loss and loss.sure else ", which may be chance,"
    price = f"at a cost of {_points(cost)} points{luck}" if cost >= 0.0005 else "at no cost"
    leads = "has the highest mean," if same else "leads with"
    mean = percent(robust.robust.value) + " on average" * (not same)
    return (
        f"{where.capitalize()} {robust.bank} {leads} {mean}, {_points(value)} points above {accurate.bank}{paired}, {price} on "
        f"clean images{'; its lead over ' + _and(same) + ' may be chance' if same else ''}."
    )


def adapting(results: Results) -> str:
    """A sentence: what adapting changes on average and most of all; nothing of a table without adapted banks."""
    return " ".join(_adapted(results, own, bank) for bank, own in sources(results.banks).items())


def _adapted(results: Results, own: str, bank: str) -> str:
    groups = [away(results.shifts) or results.shifts, *([shift] for shift in results.shifts)]
    mean, *single = changes(results, results, (own, bank))(groups)
    known = [(number, shift) for number, (shift,) in zip(single, groups[1:], strict=True) if number]
    if mean is None or not known:
        return ""
    most, shift = max(known, key=lambda each: abs(each[0].value))
    return (
        f"Adapting {own} changes its accuracy by {between(mean)} points on average {under(groups[0])}, most under "
        f"{label(*shift).replace('_', ' ')}: by {between(most)}."
    )


def between(number: Interval) -> str:
    """A difference in points with its interval."""
    return f"{signed(number.value)} ({signed(number.low)} to {signed(number.high)})"


def _and(names: Sequence[str]) -> str:
    return f"{', '.join(names[:-1])} and {names[-1]}" if len(names) > 1 else "".join(names)


def _reestimated(results: Results, found: Sequence[Point]) -> list[str]:
    banks = [point.bank for point in found]
    numbers = {bank: _reestimation(results, bank) for bank in banks if f"clean@{bank}" in banks}
    changed = " and ".join(f"{between(number)} points for {bank}" for bank, number in numbers.items() if number)
    return (
        [f"Measuring the statistics again on clean training images changes clean accuracy by {changed}."]
        if changed
        else []
    )


def _reestimation(results: Results, bank: str) -> Interval | None:
    return changes(results, results, (bank, f"clean@{bank}"))([[CLEAN]])[0]


def percent(value: float) -> str:
    """A share as people write it."""
    return f"{value:.1%}".replace("%", " %")


def _points(value: float) -> str:
    return f"{100 * value:.1f}"
