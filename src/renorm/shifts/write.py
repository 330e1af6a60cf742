"""Corrupted copies of a data set."""

from __future__ import annotations

import errno
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

import torch
from torch.utils.data import DataLoader, Dataset

from renorm.data.images import Images
from renorm.shifts.corrupted import Corrupted
from renorm.shifts.layouts import WRITERS, Piece, Writer
from renorm.shifts.manifest import NAME, Manifest, read_manifest
from renorm.shifts.settings import Settings

FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
Callback = Callable[[int, int], None]


def write_shifts(
    images: Images,
    folder: str | Path,
    settings: Settings | None = None,
    *,
    num_workers: int = 0,
    command: str = "",
    callback: Callback | None = None,
) -> Manifest:
    """Write a corrupted copy of a data set, or go on with one that was interrupted.

    The pixels of an image depend on the seed, its index in the data, the corruption and the severity only; they are what
    :func:`renorm.corruptions.corrupt` makes of its bytes with the seed ``stable_seed(seed, index)``. The files are the
    same bytes for any number of workers and interruptions. A file has its name only once it is whole.

    Args:
        images: what to corrupt.
        folder: where to write: a new one, or one in which the same copy was begun.
        settings: corruptions, severities and layout; by default the 15 standard ones in all severities.
        num_workers: processes that work; 0 for none besides this one.
        command: what was typed, for the record.
        callback: told how many pieces are done, and of how many.

    Returns:
        What the folder holds, as its ``manifest.json`` says.

    Raises:
        ValueError: the settings do not fit each other or the images, or the folder holds something else.
        OSError: the disk cannot hold it, or cannot be written.

    Example:
        >>> import tempfile
        >>> images = renorm.data.load("digits", "test").subset(range(3))
        >>> settings = Settings("parquet", corruptions=("contrast",), severities=(3,))
        >>> folder = tempfile.mkdtemp()
        >>> manifest = write_shifts(images, folder, settings)
        >>> manifest.num_images, manifest.settings.scale, sorted(path.name for path in Path(folder).iterdir())[-1]
        (3, 32, 'manifest.json')
    """
    folder = Path(folder)
    manifest = Manifest.of(images, settings or Settings(), command)
    begun = check_folder(folder, manifest)
    writer = WRITERS[str(manifest.settings.layout)](Corrupted(images, manifest), folder)
    with one_thread():
        check_space(writer, begun)
        with writing(folder, writer, manifest):
            run(writer, num_workers, callback or (lambda done, total: None))
    return manifest


def check_folder(folder: Path, manifest: Manifest) -> bool:
    """Whether a folder holds the same copy already, whole or in part.

    Raises:
        ValueError: it holds anything else.
    """
    begun = read_manifest(folder)
    if begun is None:
        found = next(folder.iterdir(), None) if folder.is_dir() else folder if folder.exists() else None
        if found is not None:
            raise ValueError(
                f"{folder} is not empty ({found.name}) and no copy that was begun before: a folder of its own is needed, "
                "so that nothing is overwritten. Choose another folder."
            )
        return False
    differing = manifest.unlike(begun)
    if differing:
        raise ValueError(
            f"{folder} holds another corrupted copy; it differs in {', '.join(differing)}. The same data, settings and "
            "versions are needed to go on with it. Choose another folder, or remove that one."
        )
    return True


def check_space(writer: Writer, begun: bool) -> None:
    """Refuse what the disk will not hold.

    Raises:
        OSError: there is less room than needed.
    """
    existing = next(path for path in (writer.folder.absolute(), *writer.folder.absolute().parents) if path.exists())
    there = sum(path.stat().st_size for path in writer.folder.rglob("*") if path.is_file()) if begun else 0
    needed, free = writer.num_bytes() - there, shutil.disk_usage(existing).free
    if needed > free:
        raise OSError(
            f"{writer.folder} needs about {gigabytes(needed)} and {gigabytes(free)} are free at {existing}. Enough room "
            "for all files is needed before the first is written. Free some, choose another disk, or take fewer "
            "corruptions or severities."
        )


@contextmanager
def writing(folder: Path, writer: Writer, manifest: Manifest) -> Iterator[None]:
    """Begin a copy, and put away what is not whole at the end; a full disk is told as what it is."""
    try:
        writer.scratch.mkdir(parents=True, exist_ok=True)
        if not (folder / NAME).exists():
            manifest.write(folder)
        yield
    except OSError as error:
        if error.errno not in FULL:
            raise
        raise OSError(
            f"no room left for {folder} ({error.strerror}). What is finished is whole and stays. Free some room and give "
            "the same command again to go on."
        ) from error
    shutil.rmtree(writer.scratch, ignore_errors=True)


def run(writer: Writer, num_workers: int, callback: Callback) -> None:
    """Write all pieces, each in one of the processes."""
    pieces = writer.pieces()
    results = iter(DataLoader(_Pieces(writer, pieces), batch_size=None, num_workers=num_workers))
    done = 0
    try:
        for corruption, group in groupby(pieces, key=lambda piece: piece.corruption):
            for _ in group:
                error = next(results)
                if isinstance(error, Exception):
                    raise error
                done += 1
                callback(done, len(pieces))
            writer.finish(corruption)
    finally:
        del results  # ends the workers now, not when the traceback is forgotten


@dataclass(frozen=True)
class _Pieces(Dataset[Exception | None]):
    # What went wrong is the item: raised in a worker, it would come back without its number and as a traceback.
    writer: Writer
    pieces: list[Piece]

    def __len__(self) -> int:
        return len(self.pieces)

    def __getitem__(self, i: int) -> Exception | None:
        try:
            self.writer.write(self.pieces[i])
        except Exception as error:
            return error
        return None


@contextmanager
def one_thread() -> Iterator[None]:
    """Compute with one thread, as workers do, so that sums are rounded alike."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def gigabytes(num_bytes: int) -> str:
    """A size for people."""
    return f"{num_bytes / 1e9:.1f} GB" if num_bytes >= 1e8 else f"{num_bytes / 1e6:.1f} MB"
