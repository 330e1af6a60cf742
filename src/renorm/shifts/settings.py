"""What to corrupt with and in what layout to write it; without torch, so that the command line shows its options at once."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

Layout = Literal["cifar-c", "imagenet-c", "parquet"]


@dataclass(frozen=True)
class CorruptionSettings:
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
    format: Literal["jpeg", "png"] | None = None
    quality: int | None = None
    frost_dir: Path | None = None
