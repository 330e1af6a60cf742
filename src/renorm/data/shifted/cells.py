"""Images by corruption and severity."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from renorm.corruptions import SEVERITIES
from renorm.data.images import Images
from renorm.data.shifted.manifest import NAME, SCRATCH, Manifest, read_manifest

Cells = dict[tuple[str, int], Images]


def check_finished(path: Path) -> None:
    """Refuse a copy that was interrupted.

    Raises:
        ValueError: the folder says so.
    """
    manifest = read_manifest(path)
    if manifest is not None and (path / SCRATCH).exists():
        raise ValueError(
            f"{path} is not finished: writing it was interrupted, or goes on. The whole is needed, so that numbers can be "
            f"compared. Give the same command again: {manifest.command or 'write_shifts'}"
        )


def check_complete(cells: Mapping[tuple[str, int], Images], manifest: Manifest, path: Path) -> None:
    """Refuse a copy, or a part of one, that lost something.

    Raises:
        ValueError: corruptions, severities or images of the manifest are missing.
    """
    expected = manifest.cells if (path / NAME).exists() or not cells else cells
    for name, severity in expected:
        number = len(cells.get((name, severity), ()))
        if number != manifest.num_images:
            raise ValueError(
                f"{path} has {number} of the {manifest.num_images} images of {name} {severity} that its manifest names. "
                "The whole is needed, so that numbers can be compared. Give the same command again: "
                f"{manifest.command or 'write_shifts'}"
            )


def check_alike(numbers: Mapping[tuple[str, int], int], path: Path) -> None:
    """Refuse a benchmark in which severities are missing, or images of some severities.

    Raises:
        ValueError: a corruption has not all five severities, or not as many images in each as there are elsewhere.
    """
    severities: dict[str, list[int]] = {}
    for name, severity in sorted(numbers):
        severities.setdefault(name, []).append(severity)
    for name, there in severities.items():
        if there != list(SEVERITIES):
            raise ValueError(
                f"{path} has severities {', '.join(map(str, there))} of {name}: all of {SEVERITIES} are needed for its mean. "
                f"Add the others, or give one severity alone, {path / name / str(there[0])}."
            )
    usual = max(numbers.values())
    fewer = [(name, severity) for (name, severity), number in numbers.items() if number != usual]
    if fewer:
        name, severity = fewer[0]
        raise ValueError(
            f"{path} has {numbers[fewer[0]]} images of {name} {severity} and {usual} of others: the same images are needed in "
            "every corruption and severity. Extract or copy it again."
        )
