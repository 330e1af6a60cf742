"""Laws run together: what holds, what does not, and what is known not to."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

Law = Callable[[Any], None]


def run(laws: Iterable[Law], subject: Any, expected: Mapping[str, str] | None = None) -> None:
    """Run all laws on a subject.

    Args:
        laws: functions that raise where they are broken.
        subject: what they take.
        expected: names of laws that are known to be broken, each with its reason.

    Raises:
        AssertionError: a law is broken that is not expected to be, or one holds that is; the text names all of them.
        ValueError: a name that is no law's.
    """
    laws, expected = list(laws), dict(expected or {})
    names = [law.__name__ for law in laws]
    if unknown := sorted(expected.keys() - set(names)):
        raise ValueError(f"no law is called {unknown[0]!r}: one of {', '.join(names)} is needed. Correct the name.")
    broken: list[str] = []
    cause: BaseException | None = None
    for law in laws:
        try:
            law(subject)
        except Exception as error:  # a subject may raise whatever it likes
            if law.__name__ not in expected:
                first = (str(error).strip().splitlines() or [""])[0]
                broken.append(f"{law.__name__}: {(law.__doc__ or '').strip()} ({type(error).__name__}: {first})")
                cause = error
        else:
            if law.__name__ in expected:
                broken.append(f"{law.__name__} holds, and was expected not to: {expected[law.__name__]}")
    if broken:
        raise AssertionError(f"{len(broken)} of {len(laws)} laws:\n" + "\n".join(broken)) from cause
