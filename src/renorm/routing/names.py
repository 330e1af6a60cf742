"""Names of branches."""

from __future__ import annotations

from collections.abc import Sequence


def check_names(branches: Sequence[str], unknown: bool = False) -> tuple[str, ...]:
    """Branch names as a tuple, or an error."""
    names = () if isinstance(branches, int) else tuple(branches)
    wrong = [name for name in names if not isinstance(name, str) or not name or "." in name or "@" in name]
    if isinstance(branches, str) or not names or wrong or len(set(names)) != len(names):
        raise ValueError(
            f"branches={branches!r} was given. Branches are a list of distinct names without '.' and '@'. "
            f'For example ["weak", "strong"].'
        )
    if unknown and "unknown" in names:
        raise ValueError(
            "a branch 'unknown' was given. That name is for samples of no branch, which have the shared affine alone. "
            "Choose another name, or refuse such samples by unknown='error'."
        )
    return names


def shown(branches: Sequence[str]) -> str:
    """Names of branches for a text, of many the first and the last."""
    names = list(branches)
    return str(names) if len(names) <= 8 else f"[{names[0]!r}, {names[1]!r}, ... {names[-1]!r}]"
