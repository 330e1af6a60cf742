"""The repository and the folder of real data."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="session")
def data_folder() -> Path:
    """The folder of real data: ``RENORM_DATA``, else ``../shared/data`` beside the repository."""
    folder = Path(os.environ.get("RENORM_DATA") or ROOT.parent / "shared" / "data")
    if not folder.is_dir():
        pytest.skip(f"needs real data: {folder} is no folder; set RENORM_DATA to one laid out as the tests name it")
    return folder
