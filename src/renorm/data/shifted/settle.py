"""Settings with nothing left open, checked against the images."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

import torch

import renorm
from renorm.corruptions import CORRUPTIONS, GROUPS, SEVERITIES, corrupt, nearest_scale
from renorm.data.decode import SMALL
from renorm.data.encode import QUALITY
from renorm.data.images import Images
from renorm.data.shifted.manifest import Manifest, Settings
from renorm.extras import require

FORMATS = {"cifar-c": None, "imagenet-c": "jpeg", "parquet": "png"}


def settle(images: Images, settings: Settings, command: str = "") -> Manifest:
    """What a copy of images will hold.

    Raises:
        ValueError: the settings do not fit each other or the images.
    """
    if not len(images):
        raise ValueError(f"{images.name} has no images: at least one is needed. Check the data and its split.")
    height, width = images[0][0].shape[-2:]
    layout = settings.layout or ("cifar-c" if max(height, width) <= SMALL else "imagenet-c")
    settings = replace(
        settings,
        layout=layout,
        corruptions=expand(settings.corruptions),
        severities=_severities(settings.severities, layout),
        scale=settings.scale or nearest_scale(height, width),
    )
    settings = _coded(settings, layout)
    _check_frost(settings)
    _check_classes(images, layout)
    # What this refuses (scale, size, frost's pictures) would otherwise fail in a worker.
    name = settings.corruptions[0] if settings.frost_dir is None else "frost"
    corrupt(torch.zeros(1, 3, height, width), name, 1, [0], settings.scale, settings.frost_dir)
    return Manifest(
        settings, images.name, images.fingerprint, len(images), width, height, images.classes,
        frost=_hash_of(settings.frost_dir), versions=_versions(layout), command=command,
    )  # fmt: skip


def expand(names: Iterable[str]) -> tuple[str, ...]:
    """Names of corruptions, each once, in their published order; ``standard``, ``held-out`` and ``corruptions`` stand for many.

    Raises:
        ValueError: a name is unknown, or there is none.

    Example:
        >>> expand(["held-out", "fog"])
        ('fog', 'speckle_noise', 'gaussian_blur', 'spatter', 'saturate')
    """
    wanted = {each for name in names for each in GROUPS.get(name, (name,))}
    unknown = sorted(wanted - set(CORRUPTIONS))
    if unknown or not wanted:
        raise ValueError(
            f"corruptions {', '.join(map(repr, unknown)) or 'none'}: standard, held-out, corruptions (all), or names "
            f"among {', '.join(CORRUPTIONS)} are needed. Choose from these."
        )
    return tuple(name for name in CORRUPTIONS if name in wanted)


def _severities(severities: Sequence[int], layout: str) -> tuple[int, ...]:
    kept = tuple(sorted(set(severities)))
    if not kept or not set(kept) <= set(SEVERITIES):
        raise ValueError(
            f"severities {list(severities)}: one or more of 1 (mild) to 5 (strong) are needed. Change --severities."
        )
    if layout == "cifar-c" and kept != SEVERITIES:
        raise ValueError(
            f"severities {list(kept)} in the layout cifar-c: its arrays are the five severities stacked, and readers "
            "count on it. Leave --severities out, or choose --layout parquet or imagenet-c."
        )
    return kept


def _coded(settings: Settings, layout: str) -> Settings:
    usual = FORMATS[layout]
    image_format = settings.format or usual
    if usual is None and settings.format:
        raise ValueError(
            f"--format {settings.format} in the layout cifar-c: its arrays hold pixels that are not encoded. "
            "Leave --format out, or choose --layout parquet or imagenet-c."
        )
    if settings.quality is None:
        return replace(settings, format=image_format, quality=QUALITY if image_format == "jpeg" else None)
    if image_format != "jpeg":
        raise ValueError(
            f"--quality {settings.quality} without JPEG: only JPEG has a quality. Add --format jpeg (layout imagenet-c "
            "or parquet), or leave --quality out."
        )
    if not 1 <= settings.quality <= 95:
        raise ValueError(
            f"--quality {settings.quality}: 1 to 95 is needed. The published ImageNet-C has {QUALITY}; choose --format png "
            "for exact pixels."
        )
    return replace(settings, format=image_format)


def _check_classes(images: Images, layout: str) -> None:
    unlabelled = int((images.labels < 0).sum())
    if layout != "parquet" and unlabelled:
        raise ValueError(
            f"{unlabelled} of {len(images)} images of {images.name} have no label: the layout {layout} needs the class of "
            "every image. Choose --layout parquet, or put the images into one folder per class."
        )
    unsafe = [name for name in images.classes if name in ("", ".", "..") or {"/", "\\", "\0"} & set(name)]
    if layout == "imagenet-c" and unsafe:
        raise ValueError(
            f"the class {unsafe[0]!r} of {images.name} is no name for a folder: the layout imagenet-c has one folder per "
            "class. Choose --layout parquet, or rename it."
        )


def _check_frost(settings: Settings) -> None:
    if settings.frost_dir is not None and "frost" not in settings.corruptions:
        raise ValueError(
            f"--frost-dir {settings.frost_dir} without frost among the corruptions: its pictures would not be used. "
            "Add frost to --corruptions, or leave --frost-dir out."
        )


def _hash_of(folder: Path | None) -> str:
    if folder is None:
        return ""
    digest = hashlib.sha256()
    for path in sorted(folder.iterdir()) if folder.is_dir() else ():
        digest.update(path.name.encode() + path.read_bytes() if path.is_file() else b"")
    return digest.hexdigest()[:16]


def _versions(layout: str) -> dict[str, str]:
    names = ["numpy", "PIL", *(["pyarrow"] if layout == "parquet" else [])]
    return {"renorm": renorm.__version__, "torch": str(torch.__version__)} | {n: require(n).__version__ for n in names}
