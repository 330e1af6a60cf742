"""The table of NAS-Bench-201: how accurate every cell is after 200 epochs.

Reference: Dong et al., *NATS-Bench: Benchmarking NAS Algorithms for Architecture Topology and Size*, TPAMI 2021.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from renorm.extras import require

NAME = "arch"
NUM_CELLS = 5**6
BEST = {"cifar10": (94.37, 89.16), "cifar100": (73.51, 61.18), "imagenet16-120": (47.31, 38.27)}  # 200 epochs, and 12
NEAR = 2.5  # points: single seeds and other means of them have another best, by less than this


@dataclass(frozen=True)
class CellTable:
    """Test accuracy of all 15,625 cells on one data set.

    Args:
        path: where it was read.
        column: which of its columns; the name of the data set.
        accuracies: in %, by the string of a cell.
    """

    path: Path
    column: str
    accuracies: Mapping[str, float] = field(repr=False)
    ranked: list[float] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "ranked", sorted(self.accuracies.values()))

    def __repr__(self) -> str:
        return (
            f"CellTable('{self.path}': test accuracy in the column '{self.column}' of {len(self.ranked)} cells, "
            f"best {self.ranked[-1]:.2f} %)"
        )

    def accuracy(self, cell: object) -> float:
        """Test accuracy in % of a cell, or of its string.

        Raises:
            ValueError: the table does not have it.
        """
        found = self.accuracies.get(str(cell))
        if found is None:
            raise ValueError(
                f"{self.path} has no cell {str(cell)!r}. A string such as {next(iter(self.accuracies))!r} is needed. "
                "Write the operations out, in the order of the edges; renorm.models.Cell does."
            )
        return found

    def percentile(self, cell: object) -> float:
        r"""Share in % of all cells that are worse, of those equally good the half.

        .. math:: 100 \, \frac{\#\{b: a_b < a\} + \#\{b: a_b \le a\}}{2 \cdot 15625}

        Raises:
            ValueError: the table does not have the cell.
        """
        accuracy = self.accuracy(cell)
        return 50 * (bisect_left(self.ranked, accuracy) + bisect_right(self.ranked, accuracy)) / len(self.ranked)


def nasbench201(path: str | Path, column: str = "cifar10") -> CellTable:
    """Read a table of the benchmark.

    Args:
        path: a Parquet or CSV file with one row for each cell: its string in ``arch``, and test accuracies in % after 200
            epochs in columns called ``cifar10``, ``cifar100`` or ``imagenet16-120``. Other columns are left alone.
        column: which of the three.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it cannot be read, is no table of all cells, or has no such column; or the best value of the column is
            not about the benchmark's after 200 epochs, as that of the column of another data set or of 12 epochs is not.
    """
    path = Path(path)
    if column not in BEST:
        raise ValueError(
            f"the column {column!r} was asked for. Accuracies after 200 epochs are needed, called {', '.join(BEST)}. "
            "Use one of these; columns of shorter training order the cells differently."
        )
    table = _read(path)
    if missing := [name for name in (NAME, column) if name not in table.column_names]:
        raise ValueError(
            f"{path} has no column {missing[0]!r}; its columns are {', '.join(table.column_names)}. "
            f"{NAME!r} and {column!r} are needed. Rename the column that has them, or make the table again."
        )
    names, values = table.column(NAME).to_pylist(), table.column(column).to_pylist()
    _check_cells(path, names)
    _check_values(path, column, values)
    return CellTable(path, column, dict(zip(names, map(float, values), strict=True)))


def _read(path: Path) -> Any:
    if not path.is_file():
        raise FileNotFoundError(
            f"there is no file {path}. A Parquet or CSV file of NAS-Bench-201 is needed. "
            "Check the path, or make one from the package nats_bench as the page on data shows."
        )
    if path.suffix not in (".parquet", ".csv"):
        raise ValueError(
            f"{path} is neither a .parquet nor a .csv file. A table of NAS-Bench-201 in one of these formats is needed. "
            "The benchmark's own archives are pickled and not read; make a table of them as the page on data shows."
        )
    read = require("pyarrow.parquet").read_table if path.suffix == ".parquet" else require("pyarrow.csv").read_csv
    try:
        return read(path)
    except (require("pyarrow").ArrowException, OSError) as error:
        raise ValueError(
            f"{path} ({path.stat().st_size} bytes) cannot be read ({str(error).partition(chr(10))[0]}). "
            f"A whole {path.suffix} file is needed. Copy or make it again."
        ) from error


def _check_cells(path: Path, names: list[Any]) -> None:
    known = "+".join(f"|{'|'.join(f'nor_conv_3x3~{start}' for start in range(end))}|" for end in (1, 2, 3))
    if len(names) != NUM_CELLS or len(set(names)) != NUM_CELLS or known not in names:
        raise ValueError(
            f"{path} has {len(names)} rows with {len(set(names))} different cells in the column {NAME!r}, as {names[:1]}. "
            f"Each of {NUM_CELLS} cells is needed once, by a string such as {known!r}. Make the whole table again."
        )


def _check_values(path: Path, column: str, values: list[Any]) -> None:
    wrong = [value for value in values if not isinstance(value, int | float) or not 0 <= value <= 100]
    if wrong:
        raise ValueError(
            f"the column {column!r} of {path} holds {wrong[0]!r}. Accuracies in % from 0 to 100 are needed for every cell. "
            "Make the table again, without cells left out."
        )
    best, shorter = BEST[column]
    if abs(max(values) - best) > NEAR:
        raise ValueError(
            f"the best cell of {path} has {max(values):.2f} in the column {column!r}. That of the benchmark has {best} % after "
            f"200 epochs, and {shorter} % after 12. Use accuracies of {column} in % after 200 epochs: hp='200' in nats_bench."
        )
