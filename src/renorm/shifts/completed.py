"""Settings of a corrupted copy with nothing left open, checked against the images."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

import torch

from renorm.corruptions import CORRUPTIONS, GROUPS, SEVERITIES, corrupt, nearest_scale
from renorm.data import QUALITY, SMALL, Images
from renorm.shifts.settings import CorruptionSettings

FORMATS = {"cifar-c": None, "imagenet-c": "jpeg", "parquet": "png"}


def completed(settings: CorruptionSettings, images: Images) -> CorruptionSettings:
    """Settings with nothing left open, as a copy of these images needs them.

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
    return settings


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
    wanted = tuple(sorted(set(severities)))
    if not wanted or not set(wanted) <= set(SEVERITIES):
        raise ValueError(
            f"severities {list(severities)}: one or more of 1 (mild) to 5 (strong) are needed. Change --severities."
        )
    if layout == "cifar-c" and wanted != SEVERITIES:
        raise ValueError(
            f"severities {list(wanted)} in the layout cifar-c: its arrays are the five severities stacked, and readers "
            "count on it. Leave --severities out, or choose --layout parquet or imagenet-c."
        )
    return wanted


def _coded(settings: CorruptionSettings, layout: str) -> CorruptionSettings:
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


def _check_frost(settings: CorruptionSettings) -> None:
    if settings.frost_dir is not None and "frost" not in settings.corruptions:
        raise ValueError(
            f"--frost-dir {settings.frost_dir} without frost among the corruptions: its pictures would not be used. "
            "Add frost to --corruptions, or leave --frost-dir out."
        )
