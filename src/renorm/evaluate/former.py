"""A table that is there already: gone on with where it was made in the same way, else kept under another name."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from renorm.evaluate.protocol import ImageSet, Protocol
from renorm.evaluate.results import Results, beside, read_results
from renorm.shifts import Shift

ALWAYS = (
    "seed",
    "weights",
    "mean",
    "std",
    "versions",
)  # what one table has one of; of others some evaluations have none
WHERE_GIVEN = ("data", "scale", "rounding")
BY_NAME = ("views", "attacks", "banks")


class Former(NamedTuple):
    """What was found where a table is to be written.

    Args:
        results: A table that the new cells are added to; None where there is none.
        unlike: What another table differs in, which makes place for the new one; nothing where there is none.
    """

    results: Results | None = None
    unlike: str = ""


def read_former(path: Path | None, protocol: Protocol, shifts: Sequence[Shift]) -> Former:
    """Read the table that an evaluation would write to, and tell whether it was made in the same way.

    Args:
        path: Where the table is to be written.
        protocol: How it will be made.
        shifts: That it will be made under.
    """
    if path is None or not path.exists():
        return Former()
    try:
        results = read_results(path)
    except ValueError:
        return Former(unlike="it cannot be read")
    unlike = difference(results, protocol, shifts)
    return Former(unlike=unlike) if unlike else Former(results)


def difference(results: Results, protocol: Protocol, shifts: Sequence[Shift]) -> str:
    """What a table was made with otherwise, in words; nothing where new cells may stand beside its own."""
    old = results.protocol
    if not old.known:
        return "it does not say how it was made"
    for name in (*ALWAYS, *WHERE_GIVEN):
        ours, theirs = getattr(old, name), getattr(protocol, name)
        if ours != theirs and (name in ALWAYS or (ours and theirs)):
            return f"other {name}: {_shown(ours)}, now {_shown(theirs)}"
    for name in BY_NAME:
        ours, theirs = getattr(old, name), getattr(protocol, name)
        for key in [key for key in ours if key in theirs and ours[key] != theirs[key]]:
            return f"another {name[:-1]} {key}: {ours[key]}, now {theirs[key]}"
    there = set(results.shifts)
    for shift in shifts:
        if (shift.name, shift.severity) in there and not _same_images(old.stored.get(shift.label), shift):
            return f"other images under {shift.label}"
    return _holes(results, list(protocol.banks), [(shift.name, shift.severity) for shift in shifts])


def _holes(results: Results, banks: Sequence[str], shifts: Sequence[tuple[str, int]]) -> str:
    """Why a table would not be whole: its means would be over other shifts for some banks than for others."""
    fewer_banks, more_banks = set(results.banks) - set(banks), set(banks) - set(results.banks)
    fewer_shifts, more_shifts = set(results.shifts) - set(shifts), set(shifts) - set(results.shifts)
    if (fewer_banks and more_shifts) or (more_banks and fewer_shifts):
        return f"other banks, {' '.join(results.banks)}, under other shifts"
    return ""


def together(old: Protocol, new: Protocol) -> Protocol:
    """How a table was made to which cells were added."""
    commands = [*old.command.split("; "), new.command]
    return replace(
        new,
        command="; ".join(dict.fromkeys(each for each in commands if each)),
        **{name: getattr(new, name) or getattr(old, name) for name in (*WHERE_GIVEN, "classes")},
        **{name: {**getattr(old, name), **getattr(new, name)} for name in (*BY_NAME, "stored")},
    )


def free_name(path: Path) -> Path:
    """Where a table goes that makes place for another: the first free one of ``results.1.csv``, ``results.2.csv``, ..."""
    number = 1
    while (free := path.with_name(f"{path.stem}.{number}{path.suffix}")).exists() or beside(free).exists():
        number += 1
    return free


def make_place(path: Path) -> None:
    """Rename a table and the file beside it."""
    free = free_name(path)
    for old, new in ((beside(path), beside(free)), (path, free)):
        if old.exists():
            os.replace(old, new)


def _same_images(old: ImageSet | None, shift: Shift) -> bool:
    """Whether a shift has the images it had, by what is known of them before they are read."""
    if old is None or shift.images is None:
        return old is None and shift.images is None
    return old.unread == ImageSet.of(shift.images, shift.outputs, read=False).unread


def _shown(value: object) -> str:
    if isinstance(value, ImageSet):
        return f"{value.images:,} of {value.name}"
    if isinstance(value, Mapping):
        return " ".join(f"{key} {each}" for key, each in value.items())
    return " ".join(map(str, value)) if isinstance(value, tuple) else str(value)
