"""Corrupted copies of a data set."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch
from torch.utils.data import DataLoader, Dataset

from renorm.data import Images
from renorm.files import FULL, writing
from renorm.shifts.corrupted import Corrupted
from renorm.shifts.layouts import WRITERS, Piece, Writer
from renorm.shifts.manifest import NAME, SCRATCH, Manifest, read_manifest
from renorm.shifts.settings import CorruptionSettings

FileCallback = Callable[[int, int], None]


def write_shifts(
    images: Images,
    folder: str | Path,
    settings: CorruptionSettings | None = None,
    *,
    num_workers: int = 0,
    command: str = "",
    callback: FileCallback | None = None,
) -> Manifest:
    """Write a corrupted copy of a data set.

    The pixels of an image depend on the seed, its index in the data, the corruption and the severity only; they are what
    :func:`renorm.corruptions.corrupt` makes of its bytes with the seed ``stable_seed(seed, index)``. The files are the
    same bytes for any number of workers. The folder holds the whole copy or, where writing stopped, nothing of it.

    Args:
        images: what to corrupt.
        folder: where to write: a new one, or one that holds the same copy already, which stays as it is.
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
        >>> settings = CorruptionSettings("parquet", corruptions=("contrast",), severities=(3,))
        >>> folder = tempfile.mkdtemp()
        >>> manifest = write_shifts(images, folder, settings)
        >>> manifest.num_images, manifest.settings.scale, sorted(path.name for path in Path(folder).iterdir())[-1]
        (3, 32, 'manifest.json')
    """
    folder = Path(folder)
    manifest = Manifest.of(images, settings or CorruptionSettings(), command)
    if not is_there(folder, manifest):
        with one_thread(), staged(folder, manifest) as scratch:
            writer = WRITERS[str(manifest.settings.layout)](Corrupted(images, manifest), scratch)
            run(writer, num_workers, callback or (lambda done, total: None))
    return manifest


def is_there(folder: Path, manifest: Manifest) -> bool:
    """Whether a folder holds the same copy already.

    Raises:
        ValueError: it holds anything else.
    """
    there = read_manifest(folder)
    if there is None:
        entry = next(folder.iterdir(), None) if folder.is_dir() else folder if folder.exists() else None
        if entry is not None and entry.name == SCRATCH:
            raise ValueError(
                f"{folder} is being written, or the command that wrote it was killed: a folder of its own is needed. Wait for "
                f"it, or remove {entry} and give the command again."
            )
        if entry is not None:
            raise ValueError(
                f"{folder} is not empty ({entry.name}): a folder of its own is needed, so that nothing is overwritten. "
                "Choose another folder."
            )
        return False
    differing = manifest.unlike(there)
    if differing:
        raise ValueError(
            f"{folder} holds another corrupted copy; it differs in {', '.join(differing)}. A folder of its own is needed, so "
            "that nothing is overwritten. Choose another folder, or remove that one."
        )
    return True


@contextmanager
def staged(folder: Path, manifest: Manifest) -> Iterator[Path]:
    """A folder on the same disk to write to, whose content moves up at the end; nothing stays where anything is raised."""
    scratch, new = folder / SCRATCH, not folder.exists()
    with writing(folder):
        scratch.mkdir(parents=True)
    try:
        manifest.write(scratch)
        yield scratch
        os.sync()  # all files at once, in a tenth of the time of one after the other
    except BaseException as error:
        shutil.rmtree(scratch, ignore_errors=True)
        if new and folder.is_dir() and next(folder.iterdir(), None) is None:
            folder.rmdir()
        if isinstance(error, OSError) and error.errno in FULL:
            raise OSError(
                f"no room left for {folder} ({os.strerror(error.errno)}): the whole copy is needed, and nothing of it stays. "
                "Free some room, choose another disk, or take fewer corruptions or severities."
            ) from error
        raise
    for path in sorted(
        scratch.iterdir(), key=lambda path: path.name == NAME
    ):  # the manifest last: it says that all is there
        os.replace(path, folder / path.name)
    scratch.rmdir()


def run(writer: Writer, num_workers: int, callback: FileCallback) -> None:
    """Write all pieces, each in one of the processes."""
    writer.begin()
    pieces = writer.pieces()
    results = iter(DataLoader(_Pieces(writer, pieces), batch_size=None, num_workers=num_workers))
    try:
        for done, error in enumerate(results, 1):
            if isinstance(error, Exception):
                raise error
            callback(done, len(pieces))
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
