"""Encoded images of any format and mode as pictures of 8-bit RGB."""

from __future__ import annotations

import io
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from renorm.data.formats import FORMATS
from renorm.extras import require


class UnreadableImageError(ValueError):
    """An image that cannot be read; its text is the reason."""


def read_picture(data: bytes, least: int | None = None) -> Any:
    """An image as Pillow's RGB, upright as its EXIF says, on white where it is transparent; of several frames the first.

    Args:
        data: the file.
        least: of a JPEG with more detail an eighth, a quarter or a half is enough, if its sides are at least so long.

    Raises:
        UnreadableImageError: it is damaged, too large, or of values whose range is not known.
    """
    with _reading(data):
        return rgb(_upright(data, least))


def read_with_alpha(data: bytes) -> tuple[Any, Any]:
    """An image as Pillow's RGB with the colours under what is not quite opaque, white under what is wholly transparent; and its
    alpha as Pillow's L, or None where it has none.

    Raises:
        UnreadableImageError: as of :func:`read_picture`.
    """
    with _reading(data):
        image = _upright(data)
        if image.mode in WIDE or not image.has_transparency_data:
            return rgb(image), None
        straight = image.convert(NARROW[image.mode]).convert("RGBA")
        alpha = straight.getchannel("A")
        white = require("PIL.Image").new("RGB", image.size, "white")
        return require("PIL.Image").composite(
            straight.convert("RGB"), white, alpha.point(lambda a: 255 * (a > 0))
        ), alpha


@contextmanager
def _reading(data: bytes) -> Iterator[None]:
    require("PIL.Image")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Pillow warns of metadata and of sizes that it reads; all else it raises
            yield
    except UnreadableImageError:
        raise
    except Exception as error:  # damaged files raise whatever their bytes lead to
        raise UnreadableImageError(_reason(data, error)) from error


def _upright(data: bytes, least: int | None = None) -> Any:
    image = _open(data)
    if least is not None:
        image.draft("RGB", (least, least))
    require("PIL.ImageOps").exif_transpose(image, in_place=True)
    return image


def picture_size(data: bytes) -> tuple[int, int]:
    """Width and height that an image's header says, before it is turned upright.

    Raises:
        UnreadableImageError: it has none.
    """
    require("PIL.Image")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return _open(data).size
    except Exception as error:
        raise UnreadableImageError(_reason(data, error)) from error


def rgb(image: Any) -> Any:
    """A Pillow image of any mode as 8-bit RGB.

    Raises:
        UnreadableImageError: its values have no range that is known, or the mode is none of the table.
    """
    if image.mode in WIDE:
        return WIDE[image.mode](image)
    if image.mode not in NARROW:
        raise UnreadableImageError(f"it has the mode {image.mode}, which has no RGB here")
    if not image.has_transparency_data:
        return image if image.mode == "RGB" else image.convert("RGB")
    straight = image.convert(NARROW[image.mode]).convert("RGBA")
    white = require("PIL.Image").new("RGBA", image.size, "white")
    return require("PIL.Image").alpha_composite(white, straight).convert("RGB")


# Modes of 8 bits or fewer, and what each is converted to before its transparency: Pillow drops that of multiplied colours.
NARROW = {mode: mode for mode in ("1", "L", "LA", "P", "PA", "RGB", "RGBA", "RGBX", "CMYK", "YCbCr", "HSV")}
NARROW |= {"La": "LA", "RGBa": "RGBA"}


def _sixteen_bits(image: Any) -> Any:
    values = np.asarray(image).astype(np.uint32)
    white = 2 ** _tag(image, BITS, 16) - 1
    return _grey(image, (values * 255 + white // 2) // white)


def _whole_numbers(image: Any) -> Any:
    if image.format == "PPM":  # Pillow makes its values 0 to 65535 whatever its maximum
        return _sixteen_bits(image)
    raise UnreadableImageError(
        "it holds whole numbers of 32 bits, whose black and white are not known; 8 or 16 bits without sign are"
    )


def _floats(image: Any) -> Any:
    values = np.asarray(image)
    low, high = float(values.min()), float(values.max())
    if not (low >= 0 and high <= 1):
        raise UnreadableImageError(f"it holds floats from {low:g} to {high:g}; 0, black, to 1, white, are read")
    return _grey(image, (values * 255).round())


def _grey(image: Any, values: Any) -> Any:
    """Values from 0 to 255 as RGB, of an image whose white may be 0 as X-rays', or that shows one value as nothing."""
    values = values.astype(np.uint8)
    values = 255 - values if _tag(image, PHOTOMETRIC, 1) == 0 else values
    clear = image.info.get("transparency")
    values = values if clear is None else np.where(np.asarray(image) == clear, np.uint8(255), values)
    return require("PIL.Image").fromarray(values).convert("RGB")


BITS, PHOTOMETRIC = 258, 262  # of TIFF's tags; Pillow heeds neither in its modes wider than 8 bits


def _tag(image: Any, number: int, usual: int) -> int:
    """The first number of a tag of TIFF."""
    found = getattr(image, "tag_v2", {}).get(number, usual)
    return int(found[0] if isinstance(found, tuple) else found)


WIDE: dict[str, Callable[[Any], Any]] = {
    **dict.fromkeys(("I;16", "I;16L", "I;16B", "I;16N"), _sixteen_bits),
    "I": _whole_numbers,
    "F": _floats,
}


def _open(data: bytes) -> Any:
    return require("PIL.Image").open(io.BytesIO(data), formats=tuple(FORMATS))


def _reason(data: bytes, error: Exception) -> str:
    """Why an image cannot be read, without addresses of memory."""
    pillow = require("PIL.Image")
    if isinstance(error, pillow.DecompressionBombError):
        return f"{str(error).partition(', could be')[0]}; raise PIL.Image.MAX_IMAGE_PIXELS if it is no mistake"
    if not data:
        return "it is empty"
    if data[4:8] == b"ftyp" and data[8:12] in HEIC_BRANDS:
        return "it is HEIC, which Pillow does not read; convert it to JPEG"
    if isinstance(error, require("PIL").UnidentifiedImageError):
        return "it begins as none of the formats that are read"
    return f"{type(error).__name__}: {error}"


HEIC_BRANDS = (b"heic", b"heix", b"heif", b"hevc", b"hevx", b"heim", b"heis", b"mif1", b"msf1")
