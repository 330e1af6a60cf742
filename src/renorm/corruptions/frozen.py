"""Frost on the window in front of the camera."""

from functools import lru_cache
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional

from renorm.corruptions.crystals import windows
from renorm.corruptions.draw import PerImage
from renorm.extras import require

# Published severity tables of Hendrycks & Dietterich, 2019, for images of 32, 64 and 224 pixels: weights of the image
# and of the frost.
FROST = {
    32: ((1, 0.2), (1, 0.3), (0.9, 0.4), (0.85, 0.4), (0.75, 0.45)),
    64: ((1, 0.3), (0.9, 0.4), (0.8, 0.45), (0.75, 0.5), (0.7, 0.55)),
    224: ((1, 0.4), (0.8, 0.6), (0.7, 0.7), (0.65, 0.7), (0.6, 0.75)),
}
SHRINKING = {32: 0.2, 64: 0.3, 224: 1.0}  # of the pictures of frost
PICTURES = (".bmp", ".jpeg", ".jpg", ".png", ".webp")


def frost(x: Tensor, severity: int, draw: PerImage, scale: int, frost_dir: str | Path | None = None) -> Tensor:
    """Add a random part of a picture of frost, of five generated ones or of the user's own.

    The five are drawn by a program, not photographs: ferns, flakes, needles and film as bright as real frost. The
    published code takes one of five photographs, which are not ours to give. A picture smaller than the images is
    enlarged.

    Shape: ``(N, 3, H, W)``, kept.

    Args:
        x: Images.
        severity: 1 to 5.
        draw: The images' random numbers.
        scale: Whose severity table: 32, 64 or 224.
        frost_dir: A folder of pictures of frost to use instead, each as likely as the others.

    Raises:
        ValueError: If the folder is missing or has no pictures.
    """
    kept, strength = FROST[scale][severity - 1]
    height, width = x.shape[-2:]
    pictures = _pictures(_files(frost_dir), scale, height, width, x.device)
    choice = draw.integers((), 0, len(pictures)).tolist()
    place = draw.uniform((2,)).tolist()
    frosted = x * kept
    for image, index, (down, across) in zip(frosted, choice, place, strict=True):
        picture = pictures[index]
        top, left = int(down * (picture.shape[1] - height)), int(across * (picture.shape[2] - width))
        part = picture[:, top : top + height, left : left + width].to(x.dtype)
        image.add_(part, alpha=strength / 255)
    return frosted.clamp_(0, 1)


def _files(folder: str | Path | None) -> tuple[tuple[Path, int], ...] | None:
    """Pictures in the folder by name, and when each was changed."""
    if folder is None:
        return None
    if not Path(folder).is_dir():
        raise ValueError(
            f"frost_dir={str(folder)!r} is not a folder: one with pictures of frost is needed. "
            "Correct the path, or leave frost_dir out to use generated frost."
        )
    files = sorted(file for file in Path(folder).iterdir() if file.suffix.lower() in PICTURES)
    if not files:
        raise ValueError(
            f"no pictures in frost_dir={str(folder)!r}: at least one file ending in {', '.join(PICTURES)} is needed. "
            "Put pictures of frost there, or leave frost_dir out to use generated frost."
        )
    return tuple((file, file.stat().st_mtime_ns) for file in files)


@lru_cache(maxsize=4)
def _pictures(
    files: tuple[tuple[Path, int], ...] | None, scale: int, height: int, width: int, device: torch.device
) -> list[Tensor]:
    """Pictures of frost of 8 bits, each ``(3, h, w)`` and at least of the given size."""
    pictures = list(windows()) if files is None else [_read(file) for file, _ in files]
    return [_resized(picture, SHRINKING[scale], height, width).to(device) for picture in pictures]


def _resized(picture: Tensor, factor: float, height: int, width: int) -> Tensor:
    """Shrunk as the table says, but not below the size of the images; not smoothed, as in the reference."""
    lengths = list(zip((height, width), picture.shape[1:], strict=True))
    factor = max(factor, *(least / length for least, length in lengths))
    if factor == 1:
        return picture
    size = [max(least, int(length * factor)) for least, length in lengths]
    resized = functional.interpolate(picture[None].float(), size, mode="bilinear")[0]
    return resized.round_().to(torch.uint8)


def _read(file: Path) -> Tensor:
    pillow = require("PIL.Image")
    try:
        with pillow.open(file) as picture:
            pixels = torch.frombuffer(bytearray(picture.convert("RGB").tobytes()), dtype=torch.uint8)
            return pixels.view(picture.height, picture.width, 3).permute(2, 0, 1).contiguous()
    except OSError as error:
        raise ValueError(
            f"{file} cannot be read as a picture ({error}): pictures of frost are needed. Remove it from frost_dir or "
            "replace it."
        ) from error
