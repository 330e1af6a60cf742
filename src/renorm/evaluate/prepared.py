"""What a table is before it is computed, whatever it is of."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from renorm.evaluate.former import Former
from renorm.evaluate.protocol import Protocol as HowMade
from renorm.evaluate.results import Results
from renorm.metrics import Interval

if TYPE_CHECKING:
    import torch.distributed as dist

PartCallback = Callable[[float, int, str], None]
PartListener = Callable[[str, Sequence[str]], None]


class PreparedTable(Protocol):
    """A table before it is computed: nothing of it is written yet, and all that could be refused was."""

    @property
    def protocol(self) -> HowMade:
        """How it will be made."""
        ...

    @property
    def parts(self) -> Sequence[str]:
        """What is computed one after another, each written when it is done: shifts, or banks."""
        ...

    @property
    def unit(self) -> str:
        """What a part is, in a word."""
        ...

    @property
    def notes(self) -> Sequence[str]:
        """What is to be told before it takes its time."""
        ...

    def former(self, path: Path) -> Former:
        """What becomes of a table that is there already."""
        ...

    def compute(
        self,
        out: Path | None = None,
        group: dist.ProcessGroup | None = None,
        callback: PartCallback | None = None,
        listener: PartListener | None = None,
    ) -> Results:
        """Compute it, going on with the one at ``out``.

        Args:
            out: Where to write it; None for nowhere.
            group: Processes that share the parts; None for this one alone.
            callback: Told cells done, cells in all, and the part.
            listener: Told of each part that is done its numbers, in words.
        """
        ...

    def overall(self, results: Results) -> Mapping[str, Mapping[str, Interval]]:
        """A few numbers of each bank over the whole table, by what they are; none where there are none."""
        ...
