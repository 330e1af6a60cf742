"""Images that are corrupted when asked for."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import PurePosixPath

from torch import Tensor

from renorm.corruptions import corrupt
from renorm.data import SUFFIXES, Images
from renorm.seeds import stable_seed
from renorm.shifts.manifest import Manifest

PIXELS = 2**20  # of images that are in memory at a time
SAME = {".JPEG": {".jpg", ".jpeg"}, ".png": {".png"}}  # what files of a format may be called


@dataclass(frozen=True)
class Corrupted:
    """A data set and what is done to it.

    Args:
        images: as they were.
        manifest: what to make of them.
    """

    images: Images
    manifest: Manifest

    @property
    def image_bytes(self) -> int:
        """Bytes of an image that is not encoded."""
        return 3 * self.manifest.height * self.manifest.width

    def batches(self, corruption: str, severity: int, indices: Tensor) -> Iterator[Tensor]:
        """Some images in order, corrupted as their index and the seed say, a few at a time.

        Shape: uint8 ``(n, 3, H, W)`` each.
        """
        settings = self.manifest.settings
        size = max(1, 3 * PIXELS // self.image_bytes)
        for part in indices.split(size) if len(indices) else ():
            pixels, _ = self.images.batch(part)
            seeds = [stable_seed(settings.seed, i) for i in part.tolist()]
            yield corrupt(pixels, corruption, severity, seeds, settings.scale, settings.frost_dir)

    def path(self, i: int, suffix: str) -> str:
        """Class folder and file name of an image, ``n01440764/ILSVRC2012_val_00000293.JPEG``."""
        name = self._names[i]
        own = PurePosixPath(name).suffix.lower() in SAME[suffix]
        label = int(self.images.labels[i])
        folder = "" if label < 0 else f"{self.manifest.classes[label]}/"
        return f"{folder}{name if own else stem(name) + suffix}"

    @cached_property
    def _names(self) -> list[str]:
        # The files' own names, unless two images of a class would get the same one.
        numbers = [f"{i:08d}" for i in range(len(self.images))]
        if self.images.files is None:
            return numbers
        unlike = set(zip(self.images.labels.tolist(), map(stem, self.images.files), strict=True))
        return self.images.files if len(unlike) == len(numbers) else numbers


def stem(name: str) -> str:
    """A file name without the ending of an image's.

    Example:
        >>> stem("deep/image.0001.JPEG"), stem("image.0001")
        ('deep/image.0001', 'image.0001')
    """
    suffix = PurePosixPath(name).suffix
    return name.removesuffix(suffix) if suffix.lower() in SUFFIXES else name
