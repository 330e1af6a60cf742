"""Names of branches."""

from __future__ import annotations

import difflib
from collections.abc import Sequence

UNKNOWN = -1  # the row of samples of no branch; by name "unknown"


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


class Branches:
    """Names of branches, and their rows in tables.

    Args:
        branches: their names.
        unknown: whether samples may belong to no branch, which is then called ``"unknown"``.
    """

    def __init__(self, branches: Sequence[str], unknown: bool = False) -> None:
        self.unknown = unknown
        self.branches = check_names(branches, unknown)

    def rows(self, names: Sequence[str]) -> tuple[int, ...]:
        """Indices of branches by name."""
        if len(set(names)) != len(names):
            raise ValueError(f"branches {list(names)} name one twice. A route needs distinct branches. Name each once.")
        return tuple(self.row(name) for name in names)

    def row(self, name: str) -> int:
        """Index of a branch by name."""
        if name in self.branches:
            return self.branches.index(name)
        if self.unknown and name == "unknown":
            return UNKNOWN
        close = difflib.get_close_matches(name, self.branches, n=1)
        raise ValueError(
            f"{name!r} is not a branch of this model. Its branches are {shown(self.branches)}. "
            + (f"Did you mean {close[0]!r}?" if close else "Use one of them, or add it by renorm.add_branch_.")
        )

    def name_of(self, row: int) -> str:
        """Name of a branch by index."""
        return "unknown" if row == UNKNOWN else self.branches[row]

    @property
    def lowest(self) -> int:
        """The lowest label of a sample."""
        return UNKNOWN if self.unknown else 0
