"""Stylized pictures as files, whole or not at all, each under the path of the picture that it was made of."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

from renorm.data import Coding, Format, ParquetImages, Rasters, pictures
from renorm.extras import require
from renorm.files import staged, write_atomically
from renorm.progress import told
from renorm.recipes.stylize.applied import Styling, check_size

QUALITY = 95
JPEG, PNG = (".jpg", ".jpeg", ".jpe", ".jfif"), (".png",)
SUFFIXES: Mapping[str, Sequence[str]] = {"jpeg": JPEG, "png": PNG}
NOTE = ".stylized.json"  # in a folder, what its pictures are; hidden, so that whoever reads the folder need not leave it out
Told = Callable[[int, int], None]


def stylize(
    styling: Styling,
    content: str | Path,
    out: str | Path,
    *,
    format: Format | None = None,
    about: Mapping[str, Any] | None = None,
    callback: Told = lambda done, total: None,
) -> int:
    """Write pictures stylized: a picture to a file; a folder to one with the same names below it; Parquet with all its columns.

    Args:
        styling: What stylizes.
        content: A picture, a folder, or a Parquet file or folder.
        out: A file for a file, a new folder for a folder.
        format: Of the files; by default JPEG where the picture was, else PNG.
        about: What is kept beside a folder's pictures, or in Parquet's metadata.
        callback: Told how many are done, and of how many.

    Returns:
        How many pictures.

    Raises:
        FileNotFoundError: If there is nothing at ``content``.
        ValueError: If a picture cannot be read, is too small, or has transparency that its format has not; if something is at
            ``out``, or it is called otherwise than it can be.
        OSError: If it cannot be written.
    """
    found, out = pictures(content), Path(out)
    for i in range(len(found)):
        check_size(found.blobs.name(i), found.size(i)[::-1])
    note = json.dumps(dict(about or {}), indent=2)
    if found.path.is_file() and found.files is not None:
        write_atomically(out, encoded(styling, found, 0, checked(out, format)))
        callback(1, 1)
    else:
        check_free(out, found)
        with staged(out) as place:
            numbered = reporting(len(found), callback)
            if found.files is None:
                _tables(styling, found, place, format, {b"renorm": note.encode()}, numbered)
            else:
                _folder(styling, found, place, format, numbered)
                write_atomically(place / NOTE, f"{note}\n".encode())
    return len(found)


def reporting(total: int, callback: Told) -> Iterator[int]:
    """Numbers of pictures, each told when the next is asked for."""
    for number in told(range(total), "stylizing", total):
        yield number
        callback(number + 1, total)


def checked(out: Path, format: Format | None) -> Format:
    """The format that a file's name says.

    Raises:
        ValueError: If it says none, or another one than was asked for.
    """
    named = format_of(out.name)
    if named is None or format not in (None, named):
        suffix = SUFFIXES[format or "png"][0]
        raise ValueError(
            f"--out {out}: a name that ends in {suffix} is needed. Call it {out.with_suffix(suffix).name}."
        )
    return named


def format_of(name: str) -> Format | None:
    """What a file of a name is written as; None where it cannot be.

    Example:
        >>> format_of("a.JPG"), format_of("a.png"), format_of("a.webp")
        ('jpeg', 'png', None)
    """
    suffix = PurePosixPath(name).suffix.lower()
    return "jpeg" if suffix in JPEG else "png" if suffix in PNG else None


def renamed(name: str, format: Format | None) -> str:
    """What a picture is called when it is written: as it was, unless its suffix would be wrong.

    Example:
        >>> renamed("cat/a.webp", None), renamed("cat/a.jpg", None), renamed("cat/a.jpg", "png")
        ('cat/a.png', 'cat/a.jpg', 'cat/a.png')
    """
    wanted = format or format_of(name) or "png"
    return name if format_of(name) == wanted else str(PurePosixPath(name).with_suffix(SUFFIXES[wanted][0]))


def encoded(styling: Styling, found: Rasters, number: int, format: Format) -> bytes:
    """One picture, stylized.

    Raises:
        ValueError: If it has transparency, and the format none; the message names it.
    """
    picture = found[number]
    if picture.alpha is not None and format == "jpeg":
        raise ValueError(
            f"{picture.name} has transparency, and JPEG has none: a PNG file is needed. Write PNG: --format png, or a name "
            f"that ends in .png."
        )
    return Coding(format, QUALITY).encode(styling(picture, number))


def check_free(out: Path, found: Rasters) -> None:
    """Refuse a place where something is, or a name that does not fit.

    Raises:
        ValueError: If so.
    """
    if out.exists():
        raise ValueError(
            f"--out {out} is there already: a place of its own is needed, so that nothing is overwritten. Choose another."
        )
    table = found.path.is_file()
    if table != (out.suffix == ".parquet"):
        needed = "a file *.parquet" if table else "a folder"
        raise ValueError(
            f"--out {out}: {found.path} becomes {needed}. Call it {out.with_suffix('.parquet' if table else '')}."
        )


def _folder(styling: Styling, found: Rasters, place: Path, format: Format | None, numbers: Iterator[int]) -> None:
    names = found.files or []
    written = [renamed(name, format) for name in names]
    twice = next((i for i, name in enumerate(written) if written.index(name) != i), None)
    if twice is not None:
        raise ValueError(
            f"{found.path} has {names[written.index(written[twice])]} and {names[twice]}, which would both become "
            f"{written[twice]}. Files of different names are needed. Rename one."
        )
    for number in numbers:
        path = place / written[number]
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(encoded(styling, found, number, format or format_of(names[number]) or "png"))


def _tables(
    styling: Styling,
    found: Rasters,
    place: Path,
    format: Format | None,
    note: Mapping[bytes, bytes],
    numbers: Iterator[int],
) -> None:
    parquet, images = require("pyarrow.parquet"), found.blobs
    assert isinstance(images, ParquetImages)
    for file in dict.fromkeys(group.file for group in images.groups):
        target = place if found.path.is_file() else place / file.relative_to(found.path)
        target.parent.mkdir(parents=True, exist_ok=True)
        opened = parquet.ParquetFile(file)
        schema = opened.schema_arrow.with_metadata({**(opened.schema_arrow.metadata or {}), **note})
        with parquet.ParquetWriter(target, schema) as writer:
            for group in range(opened.metadata.num_row_groups):
                table = opened.read_row_group(group, use_threads=False)
                writer.write_table(_replaced(styling, found, table, format, numbers).cast(schema))


def _replaced(styling: Styling, found: Rasters, table: Any, format: Format | None, numbers: Iterator[int]) -> Any:
    arrow, images = require("pyarrow"), found.blobs
    assert isinstance(images, ParquetImages)
    place, values = table.column_names.index(images.column), []
    for row in table.column(place).to_pylist():
        number = next(numbers)
        was_jpeg = images.read(number)[:3] == b"\xff\xd8\xff"
        data = encoded(styling, found, number, format or ("jpeg" if was_jpeg else "png"))
        values.append({**row, "bytes": data} if isinstance(row, dict) else data)
    kind = table.schema.field(place)
    return table.set_column(place, kind, arrow.array(values, kind.type))
