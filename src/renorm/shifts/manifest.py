"""What a folder of corrupted images holds and how it was made: ``manifest.json``."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch

from renorm.data import Frame, Images
from renorm.extras import require
from renorm.files import write_atomically
from renorm.shifts.completed import completed
from renorm.shifts.settings import CorruptionSettings
from renorm.version import __version__

NAME = "manifest.json"
SCRATCH = ".unfinished"  # folder of what is not whole yet
KIND = "renorm corrupted images, version 1"
ImagesByShift = dict[tuple[str, int], Images]


@dataclass(frozen=True)
class Manifest:
    """A folder of corrupted images.

    Args:
        settings: With nothing left open.
        data: Name of the images that were corrupted.
        fingerprint: Of their pixels and labels.
        frost: Hash of the frost pictures, where they are the user's own.
        num_images: In each cell.
        width: Of a corrupted image in pixels.
        height: Likewise.
        classes: Names of the classes, in the order of the labels.
        versions: Of the libraries that pixels and files depend on.
        command: What was typed.
    """

    settings: CorruptionSettings
    data: str
    fingerprint: str
    num_images: int
    width: int
    height: int
    classes: list[str]
    frost: str = ""
    versions: dict[str, str] = field(default_factory=dict)
    command: str = ""

    @classmethod
    def of(cls, images: Images, settings: CorruptionSettings, command: str = "") -> Manifest:
        """What a copy of images will hold.

        Raises:
            ValueError: the settings do not fit each other or the images.
        """
        settings = completed(settings, images)
        height, width = images[0][0].shape[-2:]
        return cls(
            settings, images.name, images.fingerprint, len(images), width, height, images.classes,
            frost=_hash_of(settings.frost_dir), versions=_versions(str(settings.layout)), command=command,
        )  # fmt: skip

    @property
    def cells(self) -> Iterator[tuple[str, int]]:
        """Corruptions and severities, in order."""
        return ((name, severity) for name in self.settings.corruptions for severity in self.settings.severities)

    @property
    def frame(self) -> Frame:
        """Of a corrupted image."""
        return Frame.usual(self.width, self.height)

    def write(self, folder: Path) -> None:
        """Write the file."""
        text = json.dumps({"kind": KIND, **asdict(self)}, indent=2, default=str)
        write_atomically(folder / NAME, f"{text}\n".encode())

    def unlike(self, other: Manifest) -> list[str]:
        """Names of the fields in which another one's images or files would differ."""
        here, there = (_fields(manifest) for manifest in (self, other))
        return [name for name in here if here[name] != there.get(name)]


def read_manifest(folder: Path) -> Manifest | None:
    """What a folder says that it holds; None where it has no manifest of ours.

    Raises:
        ValueError: the manifest is damaged, or of another version.
    """
    path = folder / NAME
    if not path.is_file():
        return None
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
        kind = values.pop("kind", "") if isinstance(values, dict) else ""
        if not str(kind).startswith(KIND.partition(",")[0]):
            return None
        if kind != KIND:
            raise ValueError(f"it is of the kind {kind!r}")
        return _from(values)
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(
            f"{path} cannot be understood ({error}). A manifest as this version of `renorm corrupt` writes it "
            f"({KIND!r}) is needed. Write the folder again, or remove the file to read the images without it."
        ) from error


def check_finished(path: Path) -> None:
    """Refuse a copy that is being written, or was when its command was killed.

    Raises:
        ValueError: the folder says so.
    """
    manifest = read_manifest(path / SCRATCH)
    if manifest is not None:
        raise ValueError(
            f"{path} is not finished: it is being written, or its command was killed. The whole is needed, so that numbers can "
            f"be compared. Wait for it, or remove it and give the same command again: {manifest.command or 'write_shifts'}"
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
                "The whole is needed, so that numbers can be compared. Remove it and give the same command again: "
                f"{manifest.command or 'write_shifts'}"
            )


def _from(values: dict[str, Any]) -> Manifest:
    settings = dict(values.pop("settings"))
    for name in ("corruptions", "severities"):
        settings[name] = tuple(settings[name])
    frost_dir = settings.pop("frost_dir")
    return Manifest(CorruptionSettings(**settings, frost_dir=frost_dir and Path(frost_dir)), **values)


def _fields(manifest: Manifest) -> dict[str, Any]:
    values = asdict(manifest)
    settings = values.pop("settings")
    for name in ("data", "command"):
        del values[name]
    del settings["frost_dir"]  # its pictures' hash counts
    return settings | values


def _hash_of(folder: Path | None) -> str:
    if folder is None:
        return ""
    digest = hashlib.sha256()
    for path in sorted(folder.iterdir()) if folder.is_dir() else ():
        digest.update(path.name.encode() + path.read_bytes() if path.is_file() else b"")
    return digest.hexdigest()[:16]


def _versions(layout: str) -> dict[str, str]:
    names = ["numpy", "PIL", *(["pyarrow"] if layout == "parquet" else [])]
    return {"renorm": __version__, "torch": str(torch.__version__)} | {n: require(n).__version__ for n in names}
