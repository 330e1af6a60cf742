"""Pictures of any size one by one, with their transparency: a file, a folder with all below it, Parquet files."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from renorm.data.blobs import Blobs, Files
from renorm.data.columns import image_name
from renorm.data.decode import named, to_tensor
from renorm.data.formats import KINDS
from renorm.data.listing import counted, has_images, walk
from renorm.data.parquet import parquet_files
from renorm.data.picture import picture_size, read_with_alpha
from renorm.data.rows import ParquetImages, open_parquet
from renorm.notice import notice


@dataclass(frozen=True)
class Raster:
    """One picture, upright as its EXIF says.

    Args:
        name: Of its file, or its row.
        pixels: uint8 ``(3, H, W)``.
        alpha: uint8 ``(H, W)``, 0 where it is transparent; None where it has no transparency.
    """

    name: str
    pixels: Tensor
    alpha: Tensor | None = None


@dataclass(frozen=True)
class Rasters:
    """Encoded pictures, decoded one by one.

    Args:
        path: Where they are.
        blobs: The files.
    """

    path: Path
    blobs: Blobs

    @property
    def files(self) -> list[str] | None:
        """Their names below the folder, or None for Parquet."""
        return self.blobs.names if isinstance(self.blobs, Files) else None

    def __len__(self) -> int:
        return len(self.blobs)

    def __getitem__(self, i: int) -> Raster:
        with named(self.blobs, i):
            picture, alpha = read_with_alpha(self.blobs.read(i))
        mask = None if alpha is None else torch.frombuffer(bytearray(alpha.tobytes()), dtype=torch.uint8)
        pixels = to_tensor(picture).contiguous()
        return Raster(self.blobs.name(i), pixels, None if mask is None else mask.view(pixels.shape[1:]))

    def __iter__(self) -> Iterator[Raster]:
        return (self[i] for i in range(len(self)))

    def size(self, i: int) -> tuple[int, int]:
        """Width and height that a picture's header says, before it is turned upright."""
        with named(self.blobs, i):
            return picture_size(self.blobs.read(i))


def pictures(path: str | Path) -> Rasters:
    """The pictures of a file; of a folder, with all folders below it; of a Parquet file, or a folder of them.

    Raises:
        FileNotFoundError: there is nothing.
        ValueError: it is nothing that has pictures, or a folder of image files and Parquet both.

    Example:
        >>> import tempfile
        >>> from PIL import Image
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     Image.new("RGBA", (12, 10)).save(f"{folder}/a.png")
        ...     [(found.pixels.shape, found.alpha is None) for found in pictures(folder)]
        [(torch.Size([3, 10, 12]), False)]
    """
    path = Path(path)
    if not path.exists():
        raise FileNotFoundError(
            f"there is nothing at {path}. A picture, a folder of pictures, or a Parquet file or folder is needed. Check the path."
        )
    tables = parquet_files(path) if path.is_dir() or path.suffix == ".parquet" else []
    if tables and path.is_dir() and has_images(path):
        raise ValueError(
            f"{path} has Parquet files ({tables[0].name}, ...) and image files: one of both is needed. Give a folder of one "
            f"kind, or a file itself, as {tables[0]}."
        )
    if tables:
        return Rasters(path, ParquetImages(tables, image_name(open_parquet(tables[0]).schema_arrow, path)))
    if path.is_file():
        return Rasters(path, Files(str(path.parent), [path.name]))
    return Rasters(path, Files(str(path), _names(path)))


def _names(folder: Path) -> list[str]:
    left_out: Counter[str] = Counter()
    names = list(walk(folder, left_out))
    if not names:
        holds = f"; it holds {counted(left_out)}" if left_out else ""
        raise ValueError(f"{folder} has no images{holds}. {KINDS} are needed. Check the path.")
    if left_out:
        notice(
            f"{folder} has {sum(left_out.values()):,} files that are no images and were left out: {counted(left_out)}."
        )
    return names
