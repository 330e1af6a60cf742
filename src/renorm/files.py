"""Files that are written whole or not at all."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO


def write_atomically(path: str | os.PathLike[str], data: bytes) -> Path:
    """Write a file so that its name never stands for half of it: a temporary neighbour, flushed, then renamed.

    Raises:
        OSError: the disk is full or the folder cannot be written; the former file is still there.
    """
    with opened_atomically(path) as file:
        file.write(data)
    return Path(path)


@contextmanager
def opened_atomically(path: str | os.PathLike[str], scratch: Path | None = None) -> Iterator[BinaryIO]:
    """A file to write in parts, which takes its name at the end of the ``with``, and only if nothing was raised in it.

    Args:
        path: its name.
        scratch: folder on the same disk for the file until then; by default its own, under a hidden name.

    Raises:
        OSError: the disk is full or the folder cannot be written; the former file is still there.
    """
    path = Path(path)
    if path.is_dir():
        raise IsADirectoryError(f"{path} is a folder. The name of a file is needed. Add one, such as {path / 'file'}.")
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=scratch or path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.chmod(temporary, 0o644)
        os.replace(temporary, path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
