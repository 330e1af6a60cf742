"""Numbers by shift: what tables and pictures show, with the severities of a corruption averaged and each apart."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from renorm import metrics
from renorm.corruptions import CORRUPTIONS, HELD_OUT, STANDARD
from renorm.data import VIEWS
from renorm.evaluate import CellKey, Results, label, mean_interval, per_image
from renorm.metrics import Interval
from renorm.shifts import is_attack

FAMILIES = {  # the published order; views come before, domains and stored images after
    "noise": STANDARD[:3],
    "blur": STANDARD[3:7],
    "weather": STANDARD[7:11],
    "digital": STANDARD[11:],
    "held out": HELD_OUT,
}
ATTACKS, OTHER, MEAN = "attacks", "other images", "mean"

ShiftKey = tuple[str, int]
"""Name and severity."""

Cells = tuple[Interval | None, ...]
"""Of each column."""

Measure = Callable[[Sequence[Sequence[ShiftKey]]], list[Interval | None]]
"""Gives a number for each group of shifts, none where a cell is missing."""

Contrast = Callable[[str, str], Measure | None]
"""Measures what the second column has more than the first, on the same images; none of columns that cannot be paired."""


@dataclass(frozen=True)
class Line:
    """A shift: a number for each column, the mean over its severities, and the same for each severity.

    Args:
        name: Of the shift.
        family: Its kind.
        cells: Of each column.
        leader: The column that is ahead of all others by more than chance, if there is one.
        parts: A line for each severity.
    """

    name: str
    family: str
    cells: Cells
    leader: int | None = None
    parts: tuple["Line", ...] = ()

    @property
    def title(self) -> str:
        """Its name, with the severities it is a mean of."""
        return f"{self.name} {self.parts[0].name}-{self.parts[-1].name}" if self.parts else self.name


@dataclass(frozen=True)
class Grid:
    """Shifts by columns."""

    columns: tuple[str, ...]
    lines: tuple[Line, ...]

    def numbers(self) -> list[Interval]:
        """All of them, those of single severities too."""
        lines = [each for line in self.lines for each in (line, *line.parts)]
        return [cell for line in lines for cell in line.cells if cell is not None]


def grid(columns: Mapping[str, Measure], shifts: Sequence[ShiftKey], contrast: Contrast | None = None) -> Grid:
    """Measure each column under each shift, its severities together and apart, and under all corruptions together.

    Args:
        columns: By name.
        shifts: In any order.
        contrast: Tells which column leads; without it none does.
    """
    whole = {name: sorted(shift for shift in shifts if shift[0] == name) for name in ordered(shifts)}
    averaged = means(shifts)
    groups = [*whole.values(), *([shift] for shift in shifts), *averaged.values()]
    cells = list(zip(*(measure(groups) for measure in columns.values()), strict=True)) or [()] * len(groups)
    leading = leaders(list(columns), groups, cells, contrast)
    made = [Line("", "", *each) for each in zip(cells, leading, strict=True)]
    apart = dict(zip(shifts, made[len(whole) :], strict=False))
    lines = [_line(group, line, apart) for group, line in zip(whole.values(), made, strict=False)]
    rest = made[len(whole) + len(shifts) :]
    lines += [replace(line, name=title, family=MEAN) for title, line in zip(averaged, rest, strict=True)]
    return Grid(tuple(columns), tuple(lines))


def _line(group: Sequence[ShiftKey], line: Line, apart: Mapping[ShiftKey, Line]) -> Line:
    """A shift; with its severities if it has several."""
    name, family = group[0][0], family_of(group[0][0])
    if len(group) == 1:
        return replace(line, name=label(*group[0]).replace("_", " "), family=family)
    parts = tuple(replace(apart[shift], name=str(shift[1]), family=family) for shift in group)
    return replace(line, name=name.replace("_", " "), family=family, parts=parts)


def leaders(
    names: Sequence[str], groups: Sequence[Sequence[ShiftKey]], cells: Sequence[Cells], contrast: Contrast | None
) -> list[int | None]:
    """Of each group of shifts the column that is ahead of all others by more than chance, if there is one."""
    rivals = _rivals(cells)
    found: list[int | None] = [None] * len(groups)
    if contrast is None:
        return found
    tied: set[int] = set()
    for (top, other), places in rivals.items():
        for place in places:
            found[place] = top
        tied |= {places[i] for i in _unsure(contrast(names[other], names[top]), [groups[place] for place in places])}
    return [None if place in tied else leader for place, leader in enumerate(found)]


def _rivals(cells: Sequence[Cells]) -> dict[tuple[int, int], list[int]]:
    """The rows in which one column has the highest number, for each other column that has one."""
    found: dict[tuple[int, int], list[int]] = {}
    for place, row in enumerate(cells):
        values = {column: cell.value for column, cell in enumerate(row) if cell is not None}
        top = max(values, key=lambda column: values[column]) if values else 0
        for other in values.keys() - {top}:
            found.setdefault((top, other), []).append(place)
    return found


def _unsure(measure: Measure | None, groups: Sequence[Sequence[ShiftKey]]) -> list[int]:
    """Of which groups a lead may be chance."""
    numbers = [None] * len(groups) if measure is None else measure(groups)
    return [i for i, number in enumerate(numbers) if number is None or number.low <= 0]


def ordered(shifts: Sequence[ShiftKey]) -> list[str]:
    """Names of shifts, each once: views, corruptions by family, others."""
    names = list(dict.fromkeys(name for name, _ in shifts))
    return [name for family in ("", *FAMILIES, ATTACKS, OTHER) for name in names if family_of(name) == family]


def family_of(name: str) -> str:
    """The kind of a corruption, or of other shifts; nothing for views."""
    if name in VIEWS:
        return ""
    if is_attack(name):
        return ATTACKS
    return next((family for family, names in FAMILIES.items() if name in names), OTHER)


def means(shifts: Sequence[ShiftKey]) -> dict[str, list[ShiftKey]]:
    """Groups of shifts whose mean is worth a line, by its title."""
    corrupted = [shift for shift in shifts if shift[0] in CORRUPTIONS]
    standard = [shift for shift in shifts if shift[0] in STANDARD]
    found = {"corruptions": corrupted, OTHER: [shift for shift in shifts if family_of(shift[0]) == OTHER]}
    if len(_names(standard)) == len(STANDARD) < len(_names(corrupted)):
        found["standard corruptions"] = standard
    numbers = {title: len(_names(group)) for title, group in found.items()}
    return {f"mean over {numbers[title]} {title}": group for title, group in found.items() if numbers[title] > 1}


def _names(shifts: Sequence[ShiftKey]) -> set[str]:
    return {name for name, _ in shifts}


def accuracies(results: Results, bank: str) -> Measure:
    """Mean accuracies of a bank, in 0..1, images drawn again for all cells of a group at once.

    A table without hits gives means of the cells' intervals, which are upper bounds.
    """
    rows = {row.cell: row for row in results.only()}

    def measure(groups: Sequence[Sequence[ShiftKey]]) -> list[Interval | None]:
        cells = [_cells(bank, group) if all((bank, *s) in rows for s in group) else [] for group in groups]
        if results.hits:
            return _drawn([per_image(results, group) for group in cells], results.protocol.seed)
        return [mean_interval([rows[cell] for cell in group]) if group else None for group in cells]

    return measure


def changes(a: Results, b: Results, banks: tuple[str, str]) -> Measure:
    """What the bank of ``b`` has more than the bank of ``a`` on the same images, paired by image."""

    def measure(groups: Sequence[Sequence[ShiftKey]]) -> list[Interval | None]:
        parts = []
        for group in groups:
            one, other = _cells(banks[0], group), _cells(banks[1], group)
            whole = all(c in a.hits for c in one) and all(c in b.hits for c in other)
            pairs = zip(per_image(a, one), per_image(b, other), strict=True) if whole else ()
            parts.append([y - x for x, y in pairs])
        return _drawn(parts, a.protocol.seed)

    return measure


def contrast(results: Results) -> Contrast:
    """Of two banks of one table."""
    return lambda one, other: changes(results, results, (one, other))


def accuracy_grid(results: Results) -> Grid:
    """The table bank x shift: the accuracies of each bank, and where one leads."""
    columns = {bank: accuracies(results, bank) for bank in results.banks}
    return grid(columns, results.shifts, contrast(results))


def _cells(bank: str, group: Sequence[ShiftKey]) -> list[CellKey]:
    return [(bank, *shift) for shift in group]


def _drawn(parts: Sequence[Sequence[Tensor]], seed: int) -> list[Interval | None]:
    """Intervals of sums over sets of images; those over equally many images go through one product."""
    found: dict[int, Interval] = {i: metrics.bootstrap(list(p), seed) for i, p in enumerate(parts) if len(p) > 1}
    single = {i: p[0] for i, p in enumerate(parts) if len(p) == 1}
    for size in {len(vector) for vector in single.values()}:
        same = [i for i, vector in single.items() if len(vector) == size]
        found |= zip(same, metrics.bootstrap_columns(torch.stack([single[i] for i in same], 1), seed), strict=True)
    return [found.get(i) for i in range(len(parts))]


def halves(interval: Interval) -> float:
    """Half of the interval's width."""
    return (interval.high - interval.low) / 2


def mixture(bank: str) -> dict[str, float]:
    """The banks that a name mixes, with their weights; empty for any other name."""
    parts = [part.rpartition(":") for part in bank.split("+")]
    if (
        len(parts) < 2
        or bank.endswith(".safetensors")
        or not all(name and _is_number(weight) for name, _, weight in parts)
    ):
        return {}
    return {name: float(weight) for name, _, weight in parts}


def _is_number(text: str) -> bool:
    return text.replace(".", "", 1).isdigit()


def curves_of(banks: Sequence[str]) -> Iterator[list[str]]:
    """Banks on a line between two others, with both ends where the table has them, in order of the second's weight."""
    pairs = {tuple(mixture(bank)) for bank in banks if len(mixture(bank)) == 2}
    for one, other in sorted(pairs):
        line = {bank: mixture(bank)[other] for bank in banks if tuple(mixture(bank)) == (one, other)}
        line |= {end: share for end, share in ((one, 0.0), (other, 1.0)) if end in banks}
        yield sorted(line, key=lambda bank: line[bank])
