"""Threads, seeds and names for the tests and for the examples in docstrings."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

THREADS = 1  # threads of several processes that wait for each other by spinning slow all of them down manyfold
os.environ.setdefault("OMP_NUM_THREADS", str(THREADS))  # before torch is imported, and for the processes tests start

import pytest  # noqa: E402
import torch  # noqa: E402

torch.set_num_threads(THREADS)


@pytest.fixture(scope="session", autouse=True)
def unflushed() -> Iterator[None]:
    """Files are written and renamed as ever, but no test waits for the disk: none cuts the power."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda descriptor: None)
        yield


@pytest.fixture(autouse=True)
def seed() -> None:
    torch.manual_seed(0)


@pytest.fixture(autouse=True)
def names(doctest_namespace: dict[str, Any]) -> None:
    import renorm

    doctest_namespace.update(renorm=renorm, torch=torch)
