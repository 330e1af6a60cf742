"""Pictures and Parquet files for the readers' tests."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

from renorm.extras import require


def picture(width: int, height: int, color: tuple[int, int, int] = (200, 30, 90), kind: str = "PNG") -> bytes:
    buffer = io.BytesIO()
    require("PIL.Image").new("RGB", (width, height), color).save(buffer, kind)
    return buffer.getvalue()


def write_image(path: Path, width: int = 8, height: int = 8, color: tuple[int, int, int] = (200, 30, 90)) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(picture(width, height, color))
    return path


def write_parquet(path: Path, columns: dict[str, Any], names: dict[str, list[str]] | None = None) -> Path:
    """A Parquet file; ``names`` are the classes of columns, as Hugging Face's metadata keep them."""
    arrow = require("pyarrow")
    features = {column: {"_type": "ClassLabel", "names": classes} for column, classes in (names or {}).items()}
    metadata = {"huggingface": json.dumps({"info": {"features": features}})} if names else None
    path.parent.mkdir(parents=True, exist_ok=True)
    require("pyarrow.parquet").write_table(arrow.table(columns).replace_schema_metadata(metadata), path)
    return path


def structs(colors: list[int], side: int = 8) -> list[dict[str, Any]]:
    """Images of one grey value each, as ``{bytes, path}``."""
    return [{"bytes": picture(side, side, (grey, grey, grey)), "path": f"{grey}.png"} for grey in colors]
