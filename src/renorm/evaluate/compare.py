"""What two tables differ by, with intervals over images."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from renorm import metrics
from renorm.evaluate.averages import listed, per_image
from renorm.evaluate.protocol import Protocol, label
from renorm.evaluate.results import CellKey, Results
from renorm.metrics import Interval

REMEDIES = {
    "data": "Evaluate both on the same images.",
    "images": "Evaluate both with the same --num-images and --seed.",
    "scale": "Evaluate both with the same --scale.",
    "rounding": "Evaluate both with the same --rounding, or both on the stored images.",
    "view": "Evaluate both under the view of one run, or leave this shift out.",
    "attack": "Evaluate both with the same --eps, --attack-ball, --attack-step-size and --attack-branch.",
    "seed": "Evaluate both with the same --seed.",
    "normalization": "Evaluate both with the same --mean and --std.",
}
IGNORABLE = ("scale", "rounding", "view", "attack", "seed", "normalization")


@dataclass(frozen=True)
class Difference:
    """What the second table has more than the first in one cell, in 0..1, with its paired 95 % interval."""

    banks: tuple[str, str]
    shift: str
    severity: int
    accuracies: tuple[float, float]
    interval: Interval


def differences(
    a: Results,
    b: Results,
    banks: tuple[str, str] | None = None,
    ignore: Collection[str] = (),
    shifts: Collection[str] = (),
) -> list[Difference]:
    """Paired differences ``b - a`` of all cells that both tables have.

    Args:
        a: One table.
        b: Another, on the same images.
        banks: The bank of each to compare; by default all of the same name.
        ignore: Fields of the protocol that may differ after all: ``scale``, ``rounding``, ``view``, ``attack``,
            ``seed``, ``normalization``.
        shifts: Names of those to compare; by default all that both have.

    Raises:
        ValueError: If the tables are unlike, naming the field; if they have no cell in common, or no hits; if they do not both
            have a shift.
    """
    pairs = _chosen(_pairs(a, b, banks), shifts)
    for one, _ in pairs:
        check_alike(a.protocol, b.protocol, (one[1], one[2]), ignore)
    found: dict[tuple[CellKey, CellKey], Difference] = {}
    for size in {len(a.hits[one]) for one, _ in pairs}:
        same = [pair for pair in pairs if len(a.hits[pair[0]]) == size]
        found |= zip(same, _together(a, b, same), strict=True)
    return [found[pair] for pair in pairs]


def remarks(a: Protocol, b: Protocol) -> list[str]:
    """What differs between two tables that are compared all the same: versions, normalization, training."""
    versions = [name for name in {**a.versions, **b.versions} if a.versions.get(name) != b.versions.get(name)]
    found = [f"versions differ: {name} {a.versions.get(name)} and {b.versions.get(name)}" for name in versions]
    if a.weights != b.weights and a.normalization != b.normalization:
        found.append(f"each model has its normalization: {a.normalization}; {b.normalization}")
    if a.training != b.training:
        found += [f"{side} trained: {each.training or 'not said'}" for side, each in (("A", a), ("B", b))]
    return found


def mean_difference(a: Results, b: Results, cells: Sequence[Difference]) -> Interval:
    """Mean of some differences; images are drawn again for all their cells at once."""
    one, other = ([(d.banks[i], d.shift, d.severity) for d in cells] for i in (0, 1))
    images = zip(per_image(a, one), per_image(b, other), strict=True)
    return metrics.bootstrap([y - x for x, y in images], a.protocol.seed)


def check_alike(a: Protocol, b: Protocol, shift: tuple[str, int], ignore: Collection[str] = ()) -> None:
    """Refuse to compare a cell of two tables that did not see the same pixels.

    Models, banks and the seeds they were trained with may differ, as they are what one compares; the same weights under
    two normalizations are a mistake.

    Raises:
        ValueError: Naming the field that differs, its two values and the remedy; or for a field that cannot be ignored.
    """
    for name in ignore:
        if name not in IGNORABLE:
            raise ValueError(
                f"cannot ignore {name!r}: one of {', '.join(IGNORABLE)} is needed. Differences are paired by image, so both "
                "tables must be of the same images."
            )
    ours, theirs = a.pixels(*shift), b.pixels(*shift)
    if a.weights == b.weights:
        ours, theirs = ours | {"normalization": a.normalization}, theirs | {"normalization": b.normalization}
    for name in ("images", "rounding", "data", *ours):
        if ours[name] != theirs[name] and name not in ignore:
            remedy = f" Or add --ignore {name}." if name in IGNORABLE else ""
            values = f"{_named(a, name, shift, ours)} and {_named(b, name, shift, theirs)}"
            raise ValueError(
                f"the tables differ in {name} under {label(*shift)}: {values}. Numbers compare only where it is the same. "
                f"{REMEDIES[name]}{remedy}"
            )


def _named(protocol: Protocol, name: str, shift: tuple[str, int], values: Mapping[str, str]) -> str:
    images = protocol.images_of(*shift)
    return f"{images.name} ({values[name]})" if images and name == "data" else values[name] or "none"


def _pairs(a: Results, b: Results, banks: tuple[str, str] | None) -> list[tuple[CellKey, CellKey]]:
    for which, results in (("first", a), ("second", b)):
        if not results.hits:
            raise ValueError(
                f"the {which} table says nothing of single images: paired differences need the .safetensors that is written "
                "beside it. Copy it too, or evaluate again."
            )
    names = [banks] if banks else [(name, name) for name in a.banks]
    pairs = [
        (row.cell, (other, row.shift, row.severity))
        for one, other in names
        for row in a.only()
        if row.bank == one and (other, row.shift, row.severity) in b.hits
    ]
    if not pairs:
        wanted = f" for the banks {banks[0]} and {banks[1]}" if banks else ""
        raise ValueError(
            f"the tables have no cell in common{wanted}: one has {listed(a.rows)}; the other {listed(b.rows)}. "
            "Evaluate both under the same shifts, and name the banks to compare with --banks."
        )
    return pairs


def _chosen(pairs: list[tuple[CellKey, CellKey]], shifts: Collection[str]) -> list[tuple[CellKey, CellKey]]:
    known = dict.fromkeys(one[1] for one, _ in pairs)
    for name in shifts:
        if name not in known:
            raise ValueError(
                f"the tables do not both have the shift {name!r}: they share {', '.join(known)}. Name some of these."
            )
    return [pair for pair in pairs if not shifts or pair[0][1] in shifts]


def _together(a: Results, b: Results, pairs: Sequence[tuple[CellKey, CellKey]]) -> list[Difference]:
    """The differences of pairs of cells over equally many images, whose resamples they share."""
    hits = [(a.hits[one], b.hits[other]) for one, other in pairs]
    changes = torch.stack([y.to(torch.int8) - x.to(torch.int8) for x, y in hits], 1)
    intervals = metrics.bootstrap_columns(changes, a.protocol.seed)
    return [
        Difference((one[0], other[0]), one[1], one[2], (_share(x), _share(y)), interval)
        for (one, other), (x, y), interval in zip(pairs, hits, intervals, strict=True)
    ]


def _share(hits: Tensor) -> float:
    return hits.double().mean().item()
