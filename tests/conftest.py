"""Threads, seeds and the folder of real data."""

from __future__ import annotations

import os

THREADS = 1 if "PYTEST_XDIST_WORKER" in os.environ else 2
os.environ.setdefault(
    "OMP_NUM_THREADS", str(THREADS)
)  # before torch is imported, and for the processes that tests start

from pathlib import Path  # noqa: E402

import pytest  # noqa: E402
import torch  # noqa: E402

ROOT = Path(__file__).resolve().parents[1]

torch.set_num_threads(THREADS)


@pytest.fixture(autouse=True)
def seed() -> None:
    torch.manual_seed(0)


@pytest.fixture(scope="session")
def data_folder() -> Path:
    """The folder of real data: ``RENORM_DATA``, else ``../shared/data`` beside the repository."""
    folder = Path(os.environ.get("RENORM_DATA") or ROOT.parent / "shared" / "data")
    if not folder.is_dir():
        pytest.skip(f"needs real data: {folder} is no folder; set RENORM_DATA to one laid out as the tests name it")
    return folder
