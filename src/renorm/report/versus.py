"""Several runs against each other, paired by image or by seed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from renorm.evaluate import check_alike, listed
from renorm.metrics import Interval, over_runs
from renorm.report.grid import Grid, Measure, ShiftKey, accuracies, changes, grid
from renorm.report.heat import short, signed
from renorm.report.record import Record, Side
from renorm.report.summary import CLEAN, Point, away, under

Banks = tuple[str, ...]
"""The bank of each side that is compared with those of the others."""


@dataclass(frozen=True)
class Versus:
    """Sides that saw the same pixels, and which banks of theirs are compared.

    Args:
        sides: The first is what others are compared with.
        banks: Those compared: one name for each side.
        shifts: Those that all tables have.
    """

    sides: tuple[Side, ...]
    banks: tuple[Banks, ...]
    shifts: tuple[ShiftKey, ...]

    @property
    def accuracies(self) -> Grid:
        """The numbers of each side and bank."""
        named = {
            _title(side, bank): (side, bank)
            for banks in self.banks
            for side, bank in zip(self.sides, banks, strict=True)
        }

        def contrast(one: str, other: str) -> Measure | None:
            (ours, mine), (theirs, its) = named[one], named[other]
            return paired(ours, theirs, (mine, its)) if _can_pair(ours, theirs) else None

        return grid({name: over_seeds(*each) for name, each in named.items()}, self.shifts, contrast)

    @property
    def changes(self) -> Grid:
        """What each side has more than the first."""
        columns = {
            self._change_title(side, banks[0], bank): paired(self.sides[0], side, (banks[0], bank))
            for banks in self.banks
            for side, bank in zip(self.sides[1:], banks[1:], strict=True)
        }
        return grid(columns, self.shifts)

    def _change_title(self, side: Side, ours: str, theirs: str) -> str:
        banks = theirs if ours == theirs else f"{theirs} - {ours}"
        return banks if len(self.sides) == 2 else _title(side, banks)  # of two sides there is only one that differs

    @property
    def points(self) -> dict[str, list[Point]]:
        """Clean accuracy and accuracy elsewhere of all banks of each side."""
        elsewhere = away(self.shifts)
        found: dict[str, list[Point]] = {}
        for side in self.sides if CLEAN in self.shifts and elsewhere else ():
            shared = [bank for bank in side.records[0].results.banks if _has(side, bank, self.shifts)]
            pairs = [(bank, *over_seeds(side, bank)([[CLEAN], elsewhere])) for bank in shared]
            found[side.name] = [Point(bank, clean, robust) for bank, clean, robust in pairs if clean and robust]
        return found

    def how(self, side: Side) -> str:
        """Where the interval of a side's difference comes from."""
        seeds = common_seeds(self.sides[0], side)
        if len(seeds) > 1:
            listed_seeds = " ".join(map(str, seeds))
            return f"mean over the seeds {listed_seeds}, paired by seed, with Student's 95 % interval"
        images = max(row.count for row in side.records[0].results.rows)
        return f"one run each, paired over {images:,} images with a bootstrap 95 % interval, which says nothing of other seeds"

    def findings(self) -> list[str]:
        """A sentence for each side but the first."""
        found, elsewhere = [], away(self.shifts)
        for side, bank in zip(self.sides[1:], self.banks[0][1:], strict=True):
            groups = {"on clean images": [CLEAN] if CLEAN in self.shifts else [], _elsewhere(elsewhere): elsewhere}
            groups = {where: group for where, group in groups.items() if group} or {"on average": list(self.shifts)}
            numbers = paired(self.sides[0], side, (self.banks[0][0], bank))(list(groups.values()))
            parts = [_said(number, where) for where, number in zip(groups, numbers, strict=True) if number]
            ours, theirs = f"{self.sides[0].name} ({short(self.banks[0][0])})", f"{side.name} ({short(bank)})"
            found.append(f"{theirs} against {ours}: {', '.join(parts)} ({self.how(side)}).")
        return found


def _elsewhere(shifts: Sequence[ShiftKey]) -> str:
    return f"{under(shifts)} on average" if shifts else ""


def _said(number: Interval, where: str) -> str:
    sure = "" if number.sure else ", which may be chance"
    return f"{signed(number.value)} points {where} ({signed(number.low)} to {signed(number.high)}{sure})"


def _title(side: Side, bank: str) -> str:
    return f"{side.name}: {bank}"


def _has(side: Side, bank: str, shifts: Sequence[ShiftKey]) -> bool:
    cells = [{row.cell for row in record.results.rows} for record in side.records]
    return all((bank, *shift) in each for each in cells for shift in shifts)


def versus(sides: Sequence[Side], banks: Sequence[str] = ()) -> Versus:
    """Choose what is compared.

    Args:
        sides: Runs, those that differ by their seed together.
        banks: A bank of each side, or one for all; by default all that every side has, else the first of each.

    Raises:
        ValueError: If tables are unlike, naming the field; if they have no cells in common; if a bank is unknown, or seeds
            cannot be paired.
    """
    records = [record for side in sides for record in side.records]
    for record in records:
        _check_known(record)
    chosen = _chosen(sides, banks)
    shifts = _common_shifts(sides, chosen)
    for record in records[1:]:
        for shift in shifts:
            _check_alike(records[0], record, shift)
    for side in sides[1:]:
        common_seeds(sides[0], side)
    return Versus(tuple(sides), chosen, shifts)


def _check_known(record: Record) -> None:
    if not record.results.only():
        raise ValueError(
            f"the table of {record.name} has no accuracies: a page of several runs compares these. Compare two runs by renorm "
            "compare, or report one."
        )
    if not record.results.protocol.known or not record.results.hits:
        raise ValueError(
            f"the table of {record.name} does not say how it was made, nor which images it had right: the results.safetensors "
            "that is written beside it is needed. Copy it too, or evaluate again."
        )


def _chosen(sides: Sequence[Side], banks: Sequence[str]) -> tuple[Banks, ...]:
    if len(banks) not in (0, 1, len(sides)):
        raise ValueError(
            f"{len(banks)} banks for the {len(sides)} that are compared ({', '.join(side.name for side in sides)}): one for "
            "all, or one of each is needed. Name as many --banks."
        )
    known = [side.records[0].results.banks for side in sides]
    shared = [bank for bank in known[0] if all(bank in each for each in known)]
    default = tuple((bank,) * len(sides) for bank in shared) or (tuple(each[0] for each in known),)
    chosen = ((tuple(banks) * len(sides))[: len(sides)],) if banks else default
    for side, bank, each in zip(sides, chosen[0], known, strict=True):
        if bank not in each:
            raise ValueError(
                f"{side.name} has no bank {bank!r}: one of {', '.join(each)} is needed. Name it with --banks."
            )
    return chosen


def _common_shifts(sides: Sequence[Side], banks: Sequence[Banks]) -> tuple[ShiftKey, ...]:
    wanted = [(record, each[i]) for each in banks for i, side in enumerate(sides) for record in side.records]
    cells = [{row.cell for row in record.results.rows} for record, _ in wanted]
    shifts = sides[0].records[0].results.shifts
    found = [s for s in shifts if all((bank, *s) in each for (_, bank), each in zip(wanted, cells, strict=True))]
    if not found:
        tables = "; ".join(f"{side.name} has {listed(side.records[0].results.rows)}" for side in sides)
        raise ValueError(
            f"the tables have no cell in common: {tables}. Evaluate all under the same shifts, or name a bank of each with "
            "--banks."
        )
    return tuple(found)


def _check_alike(one: Record, other: Record, shift: ShiftKey) -> None:
    try:
        check_alike(one.results.protocol, other.results.protocol, shift)
    except ValueError as error:
        raise ValueError(f"{one.name} and {other.name} cannot stand side by side: {_without_option(error)}") from error


def _without_option(error: ValueError) -> str:
    """The message, but for an option that only ``renorm compare`` has."""
    return str(error).partition(" Or add --ignore")[0]


def _can_pair(one: Side, other: Side) -> bool:
    """Whether two sides have seeds in common, or one run each."""
    single = len(one.records) == len(other.records) == 1
    return single or len(one.by_seed.keys() & other.by_seed.keys()) > 1


def common_seeds(one: Side, other: Side) -> list[int | None]:
    """Seeds that both sides were trained with; none if each has one run, which are paired by image whatever their seeds.

    Raises:
        ValueError: If there are several runs, and none or only one to pair.
    """
    if len(one.records) == len(other.records) == 1:
        return []
    shared = [seed for seed in one.by_seed if seed in other.by_seed]
    if len(shared) < 2:
        ours, theirs = (" ".join(map(str, side.by_seed)) for side in (one, other))
        raise ValueError(
            f"{one.name} has the seeds {ours} and {other.name} {theirs}: two or more in common are needed, as runs of one seed "
            "are paired. Train with the same --seed, or give one run of each."
        )
    return shared


def over_seeds(side: Side, bank: str) -> Measure:
    """Mean accuracies over the runs of a side with Student's interval; of one run with that over its images."""
    if len(side.records) == 1:
        return accuracies(side.records[0].results, bank)
    return _over_runs([accuracies(record.results, bank) for record in side.records])


def paired(one: Side, other: Side, banks: tuple[str, str]) -> Measure:
    """What the other side's bank has more, paired by seed; of one run each, paired by image."""
    seeds = common_seeds(one, other)
    if not seeds:
        return changes(one.records[0].results, other.records[0].results, banks)
    tables: Mapping[int | None, tuple[Record, Record]] = {s: (one.by_seed[s], other.by_seed[s]) for s in seeds}
    return _over_runs([changes(a.results, b.results, banks) for a, b in tables.values()])


def _over_runs(measures: Sequence[Measure]) -> Measure:
    def measure(groups: Sequence[Sequence[ShiftKey]]) -> list[Interval | None]:
        found = zip(*(each(groups) for each in measures), strict=True)
        return [_mean([number.value for number in numbers if number], len(measures)) for numbers in found]

    return measure


def _mean(values: Sequence[float], number: int) -> Interval | None:
    return over_runs(values) if len(values) == number else None
