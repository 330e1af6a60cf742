"""How far long work is."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sized
from contextlib import contextmanager
from contextvars import ContextVar
from typing import NamedTuple, TypeVar

T = TypeVar("T")
EVERY, SHARE = 10.0, 0.05  # seconds between two lines at least, and share of what the work took until then


class Far(NamedTuple):
    """How far some work is.

    Example:
        >>> print(Far("reading photos", 500, 2000, 10.0))
        reading photos: 500 of 2,000, 50 images/s, 30 s left
    """

    what: str
    done: int
    total: int
    seconds: float
    unit: str = "images"

    def __str__(self) -> str:
        rate = self.done / max(self.seconds, 1e-9)
        left = f", {(self.total - self.done) / rate:.0f} s left" if self.total and self.done else ""
        of = f" of {self.total:,}" if self.total else ""
        return f"{self.what}: {self.done:,}{of}, {rate:.{0 if rate >= 10 else 1}f} {self.unit}/s{left}"


_LISTENER: ContextVar[Callable[[Far], None] | None] = ContextVar("listener", default=None)


@contextmanager
def listening(listener: Callable[[Far], None]) -> Iterator[None]:
    """Hear how far long work in the block is, every ten seconds at first."""
    token = _LISTENER.set(listener)
    try:
        yield
    finally:
        _LISTENER.reset(token)


def told(items: Iterable[T], what: str, total: int = 0, unit: str = "images") -> Iterator[T]:
    """The items, while a listener hears how many images are done.

    Args:
        items: images; items that have a length count for so many.
        what: is done.
        total: of images, where that is known.
        unit: what is counted, if not images.
    """
    listener, began, done = _LISTENER.get(), time.monotonic(), 0
    last = began
    for item in items:
        yield item
        done += len(item) if isinstance(item, Sized) and not isinstance(item, str) else 1
        now = time.monotonic()
        if listener is not None and now - last >= max(EVERY, SHARE * (now - began)):
            last = now
            listener(Far(what, done, total, last - began, unit))
