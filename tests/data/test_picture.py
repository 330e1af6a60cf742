from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from renorm.data import load
from renorm.data.formats import FORMATS
from renorm.data.picture import WIDE, UnreadableImageError, read_picture, rgb
from renorm.extras import require

Image: Any = require("PIL.Image")
RAMP = np.linspace(0, 65535, 32 * 32).reshape(32, 32)


def encoded(picture: Any, kind: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, kind, **options)
    return buffer.getvalue()


def pixels(data: bytes) -> np.ndarray:
    return np.asarray(read_picture(data))


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "PPM", "JPEG2000"])
def test_sixteen_bits_are_scaled_from_black_to_white(kind: str):
    data = encoded(Image.fromarray(RAMP.astype(np.uint16)), kind)
    expected = np.round(RAMP.astype(np.uint16) / 257)
    for channel in range(3):
        np.testing.assert_allclose(pixels(data)[..., channel], expected, atol=1 if kind == "JPEG2000" else 0)


@pytest.mark.parametrize("mode", ["I;16", "I;16B", "I;16L"])
def test_every_order_of_two_bytes_is_scaled(mode: str):
    order = ">u2" if mode == "I;16B" else "<u2"
    picture = Image.frombytes(mode, (32, 32), RAMP.astype(order).tobytes())
    np.testing.assert_array_equal(np.asarray(rgb(picture))[..., 0], np.round(RAMP.astype(np.uint16) / 257))


def tiff(values: bytes, bits: int, white: int, kind: int = 1) -> bytes:
    """Two grey pixels; ``white`` is what 0 means: 0 white, 1 black. Pillow writes none of these."""
    tags = {256: 2, 257: 1, 258: bits, 259: 1, 262: white, 273: 134, 277: 1, 278: 1, 279: len(values), 339: kind}
    entries = b"".join(tag.to_bytes(2, "little") + b"\3\0\1\0\0\0" + n.to_bytes(4, "little") for tag, n in tags.items())
    return b"II*\0\x08\0\0\0" + len(tags).to_bytes(2, "little") + entries + bytes(4) + values


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (tiff(np.array([0, 257 * 64], "<u2").tobytes(), 16, white=1), [0, 64]),
        (tiff(np.array([0, 257 * 64], "<u2").tobytes(), 16, white=0), [255, 191]),
        (tiff(bytes([0x80, 0x0F, 0xFF]), 12, white=1), [128, 255]),
        (tiff(np.array([0, 0.2], "<f4").tobytes(), 32, white=0, kind=3), [255, 204]),
    ],
    ids=["16 bits", "16 bits, white is 0", "12 bits", "floats, white is 0"],
)
def test_what_tiff_says_of_its_values_is_heeded(data: bytes, expected: list[int]):
    assert pixels(data)[0, :, 0].tolist() == expected


def test_a_transparent_value_of_sixteen_bits_is_white():
    values = np.array([[0, 257 * 64]], np.uint16)
    data = encoded(Image.fromarray(values), "PNG", transparency=257 * 64)
    assert pixels(data)[0, :, 0].tolist() == [0, 255]


def test_sixteen_bits_of_colour_are_scaled():
    torch_free = require("zlib")

    def chunk(name: bytes, content: bytes) -> bytes:
        return len(content).to_bytes(4, "big") + name + content + torch_free.crc32(name + content).to_bytes(4, "big")

    row = b"\0" + b"".join(v.to_bytes(2, "big") for v in (0, 257 * 100, 65535))
    header = (1).to_bytes(4, "big") * 2 + bytes([16, 2, 0, 0, 0])
    body = chunk(b"IHDR", header) + chunk(b"IDAT", torch_free.compress(row)) + chunk(b"IEND", b"")
    assert pixels(b"\x89PNG\r\n\x1a\n" + body).tolist() == [[[0, 100, 255]]]


def test_floats_are_read_from_0_to_1_and_refused_elsewhere():
    data = encoded(Image.fromarray((RAMP / 65535).astype(np.float32)), "TIFF")
    np.testing.assert_array_equal(pixels(data)[..., 1], np.round(RAMP / 65535 * 255))
    for worst in (1.5, -0.1, float("nan")):
        values = np.zeros((4, 4), np.float32)
        values[1, 1] = worst
        with pytest.raises(UnreadableImageError, match=r"it holds floats from .* 0, black, to 1, white, are read"):
            read_picture(encoded(Image.fromarray(values), "TIFF"))


@pytest.mark.parametrize("dtype", [np.int32, np.int16])
def test_whole_numbers_with_a_sign_are_refused_by_name(dtype: Any, tmp_path: Path):
    tifffile = Image.fromarray(RAMP.astype(np.int32))
    tifffile.save(tmp_path / "a.tif")
    with pytest.raises(ValueError, match=r"a\.tif cannot be decoded \(it holds whole numbers of 32 bits.*Replace it"):
        load(tmp_path)


@pytest.mark.parametrize("mode", ["1", "L", "P", "RGB", "CMYK", "YCbCr", "HSV", "RGBX"])
def test_modes_of_eight_bits_are_what_pillow_converts(mode: str):
    picture = Image.effect_noise((16, 16), 80).convert("RGB").convert(mode)
    np.testing.assert_array_equal(np.asarray(rgb(picture)), np.asarray(picture.convert("RGB")))


def test_other_modes_are_refused_by_name():
    with pytest.raises(UnreadableImageError, match="it has the mode LAB, which has no RGB here"):
        rgb(Image.new("LAB", (4, 4)))
    assert set(WIDE) == {"I", "F", "I;16", "I;16L", "I;16B", "I;16N"}


def cut_out(hidden: int) -> Any:
    rgba = np.zeros((32, 32, 4), np.uint8)
    rgba[..., :3] = np.random.default_rng(0).integers(0, 255, (32, 32, 3)) if hidden else 0
    rgba[8:24, 8:24] = (200, 60, 30, 255)
    rgba[2:4, 2:4] = (0, 0, 0, 128)
    return Image.fromarray(rgba)


@pytest.mark.parametrize("mode", ["RGBA", "LA", "PA", "P", "WEBP", "GIF"])
def test_transparent_pixels_are_white_whatever_is_hidden(mode: str):
    found = []
    for hidden in (0, 1):
        picture = cut_out(hidden)
        if mode == "WEBP":
            found.append(pixels(encoded(picture, "WEBP", lossless=True)))
        elif mode == "GIF":
            found.append(pixels(encoded(picture, "GIF")))
        elif mode == "PA":
            narrow = picture.convert("RGB").quantize(16)
            narrow.putalpha(picture.getchannel("A"))
            assert narrow.mode == "PA"
            found.append(np.asarray(rgb(narrow)))
        else:
            narrow = picture.quantize(16) if mode == "P" else picture.convert(mode)
            found.append(pixels(encoded(narrow, "PNG")))
    assert np.abs(found[0].astype(int) - found[1]).mean() < 1
    assert (found[0][28, 28] == 255).all()
    if mode in ("RGBA", "LA"):
        assert (found[0][2, 2] == 127).all()


def test_a_transparent_colour_and_multiplied_ones_are_white():
    data = encoded(Image.new("RGB", (4, 4), (9, 8, 7)), "PNG", transparency=(9, 8, 7))
    assert (pixels(data) == 255).all()
    grey = encoded(Image.new("L", (4, 4), 9), "PNG", transparency=9)
    assert (pixels(grey) == 255).all()
    assert (np.asarray(rgb(Image.new("RGBa", (4, 4)))) == 255).all()
    assert (np.asarray(rgb(Image.new("La", (4, 4)))) == 255).all()


def oriented(orientation: int, kind: str) -> bytes:
    corner = np.zeros((24, 40, 3), np.uint8)
    corner[:8, :8] = 255
    exif = Image.Exif()
    exif[0x0112] = orientation
    return encoded(Image.fromarray(corner), kind, exif=exif)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF"])
@pytest.mark.parametrize(
    ("orientation", "size", "white"),
    [
        (1, (40, 24), (0, 0)),
        (2, (40, 24), (0, -1)),
        (3, (40, 24), (-1, -1)),
        (4, (40, 24), (-1, 0)),
        (5, (24, 40), (0, 0)),
        (6, (24, 40), (0, -1)),
        (7, (24, 40), (-1, -1)),
        (8, (24, 40), (-1, 0)),
    ],
)
def test_images_are_turned_as_viewers_do(orientation: int, size: tuple[int, int], white: tuple[int, int], kind: str):
    picture = read_picture(oriented(orientation, kind))
    assert picture.size == size
    shown = np.asarray(picture).astype(int).sum(-1)
    assert shown[white] > 700
    assert sum(shown[y, x] > 700 for y in (0, -1) for x in (0, -1)) == 1


def test_a_small_turned_image_has_its_turned_size(tmp_path: Path):
    (tmp_path / "a.jpg").write_bytes(oriented(6, "JPEG"))
    assert load(tmp_path)[0][0].shape == (3, 40, 24)


def test_what_datasets_shows_is_what_is_read():
    """``datasets.Image`` opens, loads and turns; the rest is the picture's own mode."""
    for data in (oriented(6, "JPEG"), oriented(3, "PNG"), encoded(cut_out(1).convert("RGB"), "JPEG")):
        picture = Image.open(io.BytesIO(data))
        picture.load()
        if picture.getexif().get(0x0112) is not None:
            picture = require("PIL.ImageOps").exif_transpose(picture)
        np.testing.assert_array_equal(pixels(data), np.asarray(picture))


def test_very_large_and_damaged_headers_name_the_file(tmp_path: Path):
    Image.new("1", (14000, 14000)).save(tmp_path / "slide.png")
    with pytest.raises(
        ValueError, match=r"slide\.png cannot be decoded \(Image size \(196000000 pixels\) exceeds limit"
    ):
        _ = load(tmp_path)[0]
    (tmp_path / "slide.png").unlink()
    Image.new("RGB", (24, 24)).save(tmp_path / "a.bmp")
    raw = bytearray((tmp_path / "a.bmp").read_bytes())
    raw[18:26] = (2_000_000).to_bytes(4, "little") + (30_000).to_bytes(4, "little")
    (tmp_path / "a.bmp").write_bytes(raw)
    with pytest.raises(ValueError, match=r"a\.bmp cannot be decoded \(.*MAX_IMAGE_PIXELS.* Replace it or take it out"):
        load(tmp_path)


def test_a_large_image_below_the_limit_is_read_without_a_warning():
    assert read_picture(encoded(Image.new("1", (10000, 9500)), "PNG")).size == (10000, 9500)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "it is empty"),
        (b"\0\0\0\x18ftypheic" + bytes(20), "it is HEIC, which Pillow does not read; convert it to JPEG"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "it begins as none of the formats that are read"),
        (b"%PDF-1.4", "it begins as none of the formats that are read"),
        (b"\x89HDF\r\n\x1a\n" + bytes(50), "it begins as none of the formats that are read"),
    ],
)
def test_what_is_no_image_is_named_without_an_address(data: bytes, message: str):
    with pytest.raises(UnreadableImageError, match=f"^{message}$"):
        read_picture(data)


@pytest.mark.parametrize("kind", [kind for kind in FORMATS if kind not in ("ICO", "GIF")])
def test_every_format_is_read_under_all_its_suffixes(kind: str, tmp_path: Path):
    picture = Image.effect_noise((32, 32), 30).convert("RGB")
    for i, suffix in enumerate(FORMATS[kind]):
        data = encoded(picture, kind)
        (tmp_path / f"{i}{suffix.upper() if i else suffix}").write_bytes(data)
    images = load(tmp_path)
    assert len(images) == len(FORMATS[kind])
    assert abs(images[0][0].float().mean().item() - np.asarray(picture).mean()) < 3
