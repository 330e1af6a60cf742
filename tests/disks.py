"""Disks that fill up."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest


@contextmanager
def no_room(num_bytes: int) -> Iterator[None]:
    """The system refuses files that are larger, as a full disk does."""
    resource = pytest.importorskip("resource")  # what Windows lacks
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (num_bytes, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
