"""Damaged files: whatever their bytes, they are read or refused in words."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from renorm.data import load
from renorm.data.formats import FORMATS, is_image
from renorm.data.picture import UnreadableImageError, read_picture
from renorm.data.splits import kind_of, kind_within, kinds_of_folders
from renorm.extras import require
from tests.data.pictures import structs, write_parquet

KINDS = [kind for kind in FORMATS if kind != "AVIF"]  # whose encoder takes as long as all others


def encoded(kind: str) -> bytes:
    buffer = io.BytesIO()
    picture = require("PIL.Image").effect_noise((32, 32), 60).convert("RGB")
    picture.save(buffer, kind, **({"exif": require("PIL.Image").Exif()} if kind in ("JPEG", "PNG", "WEBP") else {}))
    return buffer.getvalue()


def flipped(data: bytes, rng: Any, most: int = 8) -> bytes:
    """Some bytes replaced, the first hundred as often as all others, and perhaps the end cut off."""
    changed = bytearray(data)
    for _ in range(int(rng.integers(1, most + 1))):
        end = min(100, len(changed)) if rng.random() < 0.5 else len(changed)
        changed[int(rng.integers(end))] = int(rng.integers(256))
    return bytes(changed[: int(rng.integers(len(changed)))] if rng.random() < 0.2 else changed)


def outcome(data: bytes) -> str:
    """The mode of what is read, or why nothing is; all else is raised."""
    try:
        return read_picture(data).mode
    except UnreadableImageError as error:
        return str(error)


def check_pictures(number: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    whole = [encoded(kind) for kind in KINDS]
    for i in range(number):
        assert " at 0x" not in outcome(flipped(whole[i % len(whole)], rng))


def named_in(path: Path) -> str:
    """The data that are read, or why not; all else is raised."""
    try:
        images = load(path)
        _ = [image for image, _ in images], images.fingerprint
    except ValueError as error:
        return str(error)
    return images.name


def check_tables(folder: Path, number: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    columns = {"image": structs([1, 2, 3], 40), "label": ["a", "b", "a"], "domain": [0, 1, 0]}
    table = write_parquet(folder / "x.parquet", columns, {"domain": ["p", "q"]})
    np.save(folder / "y_data.npy", np.zeros((3, 8, 8, 3), np.uint8))
    np.save(folder / "y_labels.npy", np.arange(3))
    paths = [table, folder / "y_data.npy", folder / "y_labels.npy"]
    whole = {path: path.read_bytes() for path in paths}
    for i in range(number):
        path = paths[0] if i % 2 else paths[1 + (i // 2) % 2]
        path.write_bytes(flipped(whole[path], rng))
        assert str(folder) in named_in(table if path == table else paths[1])
        path.write_bytes(whole[path])


def test_damaged_pictures_are_read_or_refused():
    check_pictures(280, seed=0)


def test_damaged_tables_and_arrays_are_read_or_refused(tmp_path: Path):
    check_tables(tmp_path, 60, seed=0)


@pytest.mark.slow
def test_two_thousand_damaged_files_are_read_or_refused(tmp_path: Path):
    check_pictures(2000, seed=1)
    check_tables(tmp_path, 400, seed=1)


@given(st.binary(max_size=200))
@settings(max_examples=50, deadline=None)
def test_any_bytes_are_read_or_refused(data: bytes):
    assert outcome(data)


@given(st.sampled_from(sorted(FORMATS)), st.binary(max_size=300))
@settings(max_examples=50, deadline=None)
def test_any_bytes_behind_the_beginning_of_a_format_are_read_or_refused(kind: str, data: bytes):
    assert outcome(BEGINNINGS[kind] + data)


BEGINNINGS = {
    "JPEG": b"\xff\xd8\xff\xe1",
    "PNG": b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR",
    "WEBP": b"RIFF\0\0\0\0WEBPVP8 ",
    "AVIF": b"\0\0\0\x18ftypavif",
    "GIF": b"GIF89a",
    "BMP": b"BM",
    "TIFF": b"II*\0\x08\0\0\0",
    "JPEG2000": b"\xff\x4f\xff\x51",
    "PPM": b"P6 ",
    "QOI": b"qoif",
    "ICO": b"\0\0\1\0",
    "PCX": b"\n\5\1\x08",
    "DDS": b"DDS \x7c\0\0\0",
    "SGI": b"\1\xda\1\1",
    "TGA": b"\0\0\2\0",
}


@given(st.lists(st.text(min_size=1), min_size=1, max_size=5))
@settings(max_examples=50, suppress_health_check=[HealthCheck.too_slow], deadline=None)
def test_any_names_are_understood_or_not(names: list[str]):
    assert set(kinds_of_folders(names)) <= set(names)
    for name in names:
        assert kind_of(name) is None or kind_of(name) == kind_within(name)
        is_image(name)
