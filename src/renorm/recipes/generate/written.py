"""Samples as files: a sheet, a folder with one for each class, or Parquet as data sets are."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from renorm.data import Coding
from renorm.extras import require
from renorm.files import staged, write_atomically
from renorm.recipes.generate.sheets import by_class, png

CODING = Coding("png")
TOGETHER = 100  # rows of Parquet written at once


def check_place(out: Path) -> None:
    """Refuse a place before anything is made.

    Raises:
        ValueError: If something is there, or it is called like no kind of file that samples are written as.
    """
    if out.suffix not in (".png", ".parquet", ""):
        raise ValueError(
            f"--out {out}: a name that ends in .png (a sheet) or .parquet, or that of a new folder is needed. Call it "
            f"{out.with_suffix('.png')}, say."
        )
    if out.exists() and not out.suffix:
        raise ValueError(f"--out {out} is there already: samples need a folder of their own. Choose another name.")


def write_samples(
    out: Path, pixels: Tensor, labels: Tensor, classes: tuple[str, ...], about: Mapping[str, Any]
) -> None:
    """Write pictures with their classes, whole or not at all.

    Args:
        out: Ends in ``.png`` for a sheet, a row for each class; in ``.parquet``; else a folder of classes.
        pixels: uint8 ``(N, 3, H, W)``.
        labels: ``(N,)``.
        classes: All of the generator's, by name.
        about: What Parquet and a folder say of how they were made.

    Raises:
        ValueError: For a place that cannot be.
        OSError: If it cannot be written.
    """
    check_place(out)
    if out.suffix == ".png":
        write_atomically(out, png(by_class(pixels, labels)))
    elif out.suffix == ".parquet":
        _write_table(out, pixels, labels, classes, about)
    else:
        with staged(out) as place:
            for name, label, data in _files(pixels, labels):
                file = place / classes[label] / name
                file.parent.mkdir(parents=True, exist_ok=True)
                file.write_bytes(data)
            (place / ".sampled.json").write_text(json.dumps(dict(about), indent=2))


def _files(pixels: Tensor, labels: Tensor) -> Iterator[tuple[str, int, bytes]]:
    """Name, class and bytes of each picture."""
    for number, (picture, label) in enumerate(zip(pixels, labels.tolist(), strict=True)):
        yield f"{number:06}.png", label, CODING.encode(picture)


def _write_table(out: Path, pixels: Tensor, labels: Tensor, classes: tuple[str, ...], about: Mapping[str, Any]) -> None:
    arrow, parquet = require("pyarrow"), require("pyarrow.parquet")
    image = arrow.struct([("bytes", arrow.binary()), ("path", arrow.string())])
    features = {"image": {"_type": "Image"}, "label": {"_type": "ClassLabel", "names": list(classes)}}
    described = {"huggingface": json.dumps({"info": {"features": features}}), "renorm": json.dumps(dict(about))}
    schema = arrow.schema([("image", image), ("label", arrow.int64())], described)
    with staged(out) as place, parquet.ParquetWriter(place, schema, compression="none") as writer:
        for part in zip(pixels.split(TOGETHER), labels.split(TOGETHER), strict=True):
            rows = [{"image": {"bytes": data, "path": name}, "label": label} for name, label, data in _files(*part)]
            writer.write_table(arrow.Table.from_pylist(rows, schema=schema))
