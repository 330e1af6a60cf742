from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import Any

import pytest

from renorm.files import write_atomically


def test_a_file_is_written_where_no_folder_was_and_written_again(tmp_path: Path):
    path = tmp_path / "a" / "b" / "file"
    assert write_atomically(path, b"first") == path
    assert write_atomically(str(path), b"second") == path
    assert path.read_bytes() == b"second"
    assert [p.name for p in path.parent.iterdir()] == ["file"]
    assert stat.S_IMODE(path.stat().st_mode) == 0o644


@pytest.mark.parametrize("step", ["fsync", "chmod", "replace"])
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
        with pytest.raises(OSError, match="No space left"):
            write_atomically(tmp_path / "file", b"new")
    assert [p.read_bytes() for p in tmp_path.iterdir()] == [b"former"]


def test_a_folder_in_the_way(tmp_path: Path):
    (tmp_path / "file").mkdir()
    with pytest.raises(IsADirectoryError, match=r"file is a folder\. The name of a file is needed\. Add one"):
        write_atomically(tmp_path / "file", b"new")
    assert [p.name for p in tmp_path.iterdir()] == ["file"]
