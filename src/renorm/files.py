"""Files that are written whole or not at all."""

from __future__ import annotations

import errno
import os
import re
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


def write_atomically(path: str | os.PathLike[str], data: bytes) -> Path:
    """Write a file so that its name never stands for half of it: a temporary neighbour, flushed, then renamed.

    Who may read it is what the process's umask says, as of any new file.

    Raises:
        OSError: the disk is full or the folder cannot be written; the former file is still there.
    """
    path = Path(path)
    if path.is_dir():
        raise IsADirectoryError(f"{path} is a folder. The name of a file is needed. Add one, such as {path / 'file'}.")
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
        handle = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0), 0o666)
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            os.replace(temporary, path)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
    return path


@contextmanager
def staged(path: Path) -> Iterator[Path]:
    """A hidden neighbour to write a file or a folder to, which gets the name at the end; nothing stays where anything is raised.

    Raises:
        ValueError: it is being written, or was when its process was killed.
        OSError: the disk is full or cannot be written.
    """
    place = path.with_name(f".{path.name}.unfinished")
    if place.exists():
        raise ValueError(
            f"{path} is being written, or what wrote it was killed: {place} is there. A place of its own is needed. Wait for "
            f"it, or remove it."
        )
    try:
        with writing(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            yield place
            os.replace(place, path)
    except BaseException:
        shutil.rmtree(place, ignore_errors=True)
        place.unlink(missing_ok=True)
        raise


@contextmanager
def writing(path: str | os.PathLike[str], *others: type[Exception]) -> Iterator[None]:
    """Tell in one message which file could not be written and why.

    Args:
        path: what the block writes.
        others: what a library raises in place of an OSError.

    Raises:
        OSError: of the same kind and number as the one that was raised inside.
    """
    try:
        yield
    except (OSError, *others) as error:
        raise unwritten(Path(path), error) from error


def check_readable(path: Path) -> None:
    """Refuse a file that this user may not read, where libraries say that there is none.

    Raises:
        OSError: so it is.
    """
    try:
        path.open("rb").close()
    except OSError as error:
        made = type(error)(
            f"{path} cannot be read ({error.strerror}): a file that you may read is needed. Ask its owner for chmod a+r, or copy "
            "it."
        )
        made.errno = error.errno
        raise made from error


def in_words(error: Exception) -> str:
    """What an error says; where the system refused a file, and nobody put it in words, what is needed.

    Example:
        >>> in_words(PermissionError(13, "Permission denied", "run/config.json"))[:54]
        'run/config.json cannot be used (Permission denied): it'
    """
    if not isinstance(error, OSError) or error.filename is None or not str(error).startswith("[Errno"):
        return str(error) or type(error).__name__
    return (
        f"{os.fspath(error.filename)} cannot be used ({error.strerror}): it must be there, and be yours to read, or to write "
        "where it is written. Check its path, its permissions and its disk."
    )


def unwritten(path: Path, error: Exception) -> OSError:
    """The error of a file that cannot be written."""
    cause = system_error(error)
    told = f"{path} cannot be written ({cause.strerror or str(error).partition(chr(10))[0] or type(error).__name__})."
    if cause.errno in FULL:
        made = type(cause)(f"{told} Room for all of it is needed. Free some, or choose another place.")
    else:
        made = type(cause)(f"{told} A folder in which files can be made is needed. Choose another place.")
    made.errno = cause.errno
    return made


def system_error(error: Exception) -> OSError:
    """What the system said, which libraries repeat in a message or lose."""
    for each in (error, error.__context__):
        if isinstance(each, OSError):
            return each
    number = re.search(r"\(os error (\d+)\)", str(error))
    return OSError(int(number[1]), os.strerror(int(number[1]))) if number else OSError()
