"""Tables bank x measure: of networks that give no classes, each bank measured once, under one name."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from torch import Tensor

from renorm.evaluate import ranks
from renorm.evaluate.former import Former, make_place, read_former, together
from renorm.evaluate.prepared import PartCallback, PartListener
from renorm.evaluate.protocol import Protocol
from renorm.evaluate.results import CellKey, Results, Row, write_results
from renorm.evaluate.table import joined
from renorm.metrics import Interval
from renorm.shifts import Shift

if TYPE_CHECKING:
    import torch.distributed as dist


@dataclass(frozen=True)
class Measured:
    """One number of one bank.

    Args:
        value: The number.
        count: Of images, or of whatever it is over.
        low: Lower end of its 95 % interval; None where there is none.
        high: Upper end.
        values: What each image adds to it, ``(N,)``, where it is their mean: such numbers are compared in pairs.
    """

    value: float
    count: int
    low: float | None = None
    high: float | None = None
    values: Tensor | None = None


@dataclass(frozen=True)
class MeasuredTable:
    """A table bank x measure before it is computed; a table that is there and was made in the same way gets further banks.

    Args:
        protocol: How it will be made; its banks are measured in their order.
        measure: Gives the numbers of a bank by what they are, say ``KID[resnet8]``.
        shift: What they are measured on, say ``generated``.
        banks: Those to measure; by default all of the protocol.
        notes: What is to be told beforehand.
    """

    protocol: Protocol
    measure: Callable[[str], Mapping[str, Measured]]
    shift: str
    banks: Sequence[str] = ()
    notes: Sequence[str] = ()

    @property
    def parts(self) -> Sequence[str]:
        """The banks."""
        return list(self.banks or self.protocol.banks)

    @property
    def unit(self) -> str:
        """A bank."""
        return "bank"

    def former(self, path: Path | None) -> Former:
        """What becomes of a table that is there already."""
        return read_former(path, self.protocol, [Shift(self.shift, seed=self.protocol.seed)])

    def overall(self, results: Results) -> Mapping[str, Mapping[str, Interval]]:
        """Nothing: measures have no mean."""
        return {}

    def compute(
        self,
        out: Path | None = None,
        group: dist.ProcessGroup | None = None,
        callback: PartCallback | None = None,
        listener: PartListener | None = None,
    ) -> Results:
        """Measure the banks that are not there, each written when it is done; see :class:`renorm.evaluate.PreparedTable`."""
        found = ranks.from_first(self.former(out), group)
        results = found.results or Results(self.protocol, [])
        protocol = together(results.protocol, self.protocol)
        waiting = [bank for bank in self.parts if bank not in results.banks]
        rank, num_ranks = ranks.place(group)
        for first in range(0, len(waiting), num_ranks):
            turn = waiting[first : first + num_ranks]
            mine = [self._table(bank) for bank in turn[rank : rank + 1]]
            tables = [table for each in ranks.from_all(mine, group) for table in each]
            for bank, table in zip(turn, tables, strict=True):
                if callback:
                    callback(self.parts.index(bank) + 1, len(self.parts), bank)
                if listener:
                    listener(bank, [f"{row.measure} {row.value:.4g}" for row in table.rows])
            results = joined(protocol, [results, *tables], [(self.shift, 0)], waiting[first + num_ranks :])
            if out is not None and rank == 0:
                if found.unlike and first == 0:
                    make_place(out)
                write_results(out, results)
        return results.subset(self.parts, [(self.shift, 0)])

    def _table(self, bank: str) -> Results:
        """The rows of one bank."""
        seed, rows = self.protocol.seed, list[Row]()
        values: dict[str, dict[CellKey, Tensor]] = {}
        for name, each in self.measure(bank).items():
            rows.append(Row(bank, self.shift, 0, name, each.value, each.low, each.high, each.count, seed))
            if each.values is not None:
                values[name] = {rows[-1].cell: each.values}
        return Results(self.protocol, rows, values)
