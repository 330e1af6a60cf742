from __future__ import annotations

import errno
import os
import stat
from pathlib import Path
from typing import Any

import pytest

from renorm.files import check_readable, in_words, write_atomically, writing
from tests.disks import no_room

FULL = (
    r"file cannot be written \(No space left on device\)\. Room for all of it is needed\. Free some, or choose another"
)


def test_a_file_is_written_where_no_folder_was_and_written_again(tmp_path: Path):
    path = tmp_path / "a" / "b" / "file"
    assert write_atomically(path, b"first") == path
    assert write_atomically(str(path), b"second") == path
    assert path.read_bytes() == b"second"
    assert [p.name for p in path.parent.iterdir()] == ["file"]


@pytest.mark.parametrize("umask", [0o022, 0o027, 0o077, 0o002])
def test_who_may_read_a_file_is_what_the_umask_says(umask: int, tmp_path: Path):
    former = os.umask(umask)
    try:
        path = write_atomically(tmp_path / "file", b"new")
        (tmp_path / "usual").touch()
    finally:
        os.umask(former)
    assert stat.S_IMODE(path.stat().st_mode) == stat.S_IMODE((tmp_path / "usual").stat().st_mode) == 0o666 & ~umask


@pytest.mark.parametrize("step", ["fdopen", "fsync", "replace"])
@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), KeyboardInterrupt("stop")])
@pytest.mark.parametrize("former", [None, b"former"])
def test_a_write_that_fails_leaves_what_was_and_no_temporary_file(
    step: str, error: BaseException, former: bytes | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    path = tmp_path / "file"
    if former is not None:
        path.write_bytes(former)

    def fail(*_: Any) -> None:
        raise error

    with monkeypatch.context() as patched:
        patched.setattr(os, step, fail)
        with pytest.raises(type(error)):
            write_atomically(path, b"new")
    assert [p.read_bytes() for p in tmp_path.iterdir()] == ([] if former is None else [former])


def test_a_disk_that_fills_up_while_writing(tmp_path: Path):
    if not Path("/dev/full").exists():
        pytest.skip("needs /dev/full, a device on which every write fails")
    (tmp_path / "file").write_bytes(b"former")

    def full(handle: int, mode: str) -> Any:
        os.close(handle)
        return open("/dev/full", mode, buffering=0)

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(os, "fdopen", full)
        with pytest.raises(OSError, match=FULL) as error:
            write_atomically(tmp_path / "file", b"new")
    assert error.value.errno == errno.ENOSPC
    assert [p.read_bytes() for p in tmp_path.iterdir()] == [b"former"]


def test_a_file_that_may_not_grow(tmp_path: Path):
    (tmp_path / "file").write_bytes(b"former")
    with no_room(4096), pytest.raises(OSError, match=r"file cannot be written \(File too large\)\. Room for all of it"):
        write_atomically(tmp_path / "file", bytes(8192))
    assert [p.read_bytes() for p in tmp_path.iterdir()] == [b"former"]


def test_a_file_in_the_place_of_a_folder(tmp_path: Path):
    (tmp_path / "file").touch()
    with pytest.raises(
        OSError, match=r"b cannot be written \((File exists|Not a directory)\)\. A folder .* is needed\. Choose another"
    ):
        write_atomically(tmp_path / "file" / "b", b"new")


def test_what_a_library_says_of_the_disk_is_an_error_of_the_system():
    with pytest.raises(OSError, match=FULL) as error, writing("file", KeyError):
        raise KeyError("I/O error: No space left on device (os error 28)")
    assert error.value.errno == errno.ENOSPC
    denied = pytest.raises(PermissionError, match=r"^file cannot be written \(Permission denied\)\. A folder")
    with denied as refused, writing("file", KeyError):
        raise PermissionError(errno.EACCES, "Permission denied", "file")
    assert refused.value.errno == errno.EACCES
    with pytest.raises(OSError, match=r"^file cannot be written \(unexpected\)\."), writing("file", RuntimeError):
        raise RuntimeError("unexpected\nmore")
    with pytest.raises(KeyError), writing("file"):
        raise KeyError


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="needs root, to become a user who may not")
def test_a_file_that_may_not_be_read(tmp_path: Path):
    (tmp_path / "file").touch(mode=0o600)
    os.seteuid(65534)
    try:
        with pytest.raises(
            PermissionError, match=r"file cannot be read \(Permission denied\): .* is needed\. Ask its owner"
        ):
            check_readable(tmp_path / "file")
    finally:
        os.seteuid(0)
    check_readable(tmp_path / "file")
    with pytest.raises(FileNotFoundError, match=r"none cannot be read \(No such file or directory\): .* is needed\."):
        check_readable(tmp_path / "none")


def test_a_folder_in_the_way(tmp_path: Path):
    (tmp_path / "file").mkdir()
    with pytest.raises(IsADirectoryError, match=r"file is a folder\. The name of a file is needed\. Add one"):
        write_atomically(tmp_path / "file", b"new")
    assert [p.name for p in tmp_path.iterdir()] == ["file"]


def test_what_only_the_system_said_is_put_in_words():
    told = in_words(PermissionError(errno.EACCES, "Permission denied", "run/config.json"))
    assert told.startswith("run/config.json cannot be used (Permission denied): it must be there, ")
    assert told.endswith("Check its path, its permissions and its disk.")
    for error in (
        OSError("all is said"),
        OSError(errno.EIO, "Input/output error"),
        ValueError("[Errno 1] not the system's"),
    ):
        assert in_words(error) == str(error)
    assert in_words(RuntimeError()) == "RuntimeError"
