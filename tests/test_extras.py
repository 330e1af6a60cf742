from __future__ import annotations

from pathlib import Path

import pytest

from renorm.extras import require


def test_a_missing_library_says_what_to_install():
    with pytest.raises(ImportError, match=r"notalibrary is not installed .*pip install '\.\[recipes\]'"):
        require("notalibrary.part")


def test_a_broken_library_says_how_it_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "brokenlibrary.py").write_text("raise RuntimeError('operator does not exist')")
    monkeypatch.syspath_prepend(tmp_path)
    message = r"brokenlibrary is installed but does not import \(RuntimeError: operator does not exist\)"
    with pytest.raises(ImportError, match=message):
        require("brokenlibrary")
