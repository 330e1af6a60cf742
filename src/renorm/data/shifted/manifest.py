"""What a folder of corrupted images holds and how it was made: ``manifest.json``."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from renorm.data.encode import Format
from renorm.files import write_atomically

NAME = "manifest.json"
SCRATCH = ".unfinished"  # folder of what is not whole yet
KIND = "renorm corrupted images, version 1"
Layout = Literal["cifar-c", "imagenet-c", "parquet"]


@dataclass(frozen=True)
class Settings:
    """What to corrupt with, and in what layout to write it.

    Args:
        layout: cifar-c (CORRUPTION.npy with the five severities stacked, and labels.npy), imagenet-c
            (CORRUPTION/SEVERITY/CLASS/IMAGE) or parquet (Hugging Face's layout with columns corruption and severity);
            by default cifar-c for sides of at most 96 pixels, imagenet-c for larger images.
        corruptions: standard (15), held-out (4), corruptions (all 19), or names of corruptions.
        severities: 1 (mild) to 5 (strong).
        seed: Of the random numbers of all corruptions.
        scale: Whose severity tables: those for images of 32, 64 or 224 pixels; by default by the size of the images.
        format: Of image files: jpeg (lossy, as the published ImageNet-C) or png (exact); by default jpeg for imagenet-c,
            png for parquet. cifar-c has none.
        quality: Of JPEG, 1 to 95; by default 85, as the published ImageNet-C.
        frost_dir: Folder of frost pictures for frost, in place of procedural ones.
    """

    layout: Layout | None = None
    corruptions: tuple[str, ...] = ("standard",)
    severities: tuple[int, ...] = (1, 2, 3, 4, 5)
    seed: int = 0
    scale: int | None = None
    format: Format | None = None
    quality: int | None = None
    frost_dir: Path | None = None


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

    settings: Settings
    data: str
    fingerprint: str
    num_images: int
    width: int
    height: int
    classes: list[str]
    frost: str = ""
    versions: dict[str, str] = field(default_factory=dict)
    command: str = ""

    @property
    def cells(self) -> Iterator[tuple[str, int]]:
        """Corruptions and severities, in order."""
        return ((name, severity) for name in self.settings.corruptions for severity in self.settings.severities)

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


def _from(values: dict[str, Any]) -> Manifest:
    settings = dict(values.pop("settings"))
    for name in ("corruptions", "severities"):
        settings[name] = tuple(settings[name])
    frost_dir = settings.pop("frost_dir")
    return Manifest(Settings(**settings, frost_dir=frost_dir and Path(frost_dir)), **values)


def _fields(manifest: Manifest) -> dict[str, Any]:
    values = asdict(manifest)
    settings = values.pop("settings")
    for name in ("data", "command"):
        del values[name]
    del settings["frost_dir"]  # its pictures' hash counts
    return settings | values
