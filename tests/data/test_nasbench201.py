from __future__ import annotations

import itertools
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pyarrow as pa
import pytest
import torch
from pyarrow import csv, parquet
from torch.testing import assert_close

from renorm.data import CellTable, nasbench201
from renorm.models import Cell
from renorm.models.cell import OPERATIONS
from tests.conftest import ROOT
from tests.test_documents import blocks

NAMES = [str(Cell(operations)) for operations in itertools.product(OPERATIONS, repeat=6)]
BEST = {"cifar10": 94.37, "cifar100": 73.51, "imagenet16-120": 47.31}
CELL = Cell.parse("|nor_conv_3x3~0|+|none~0|skip_connect~1|+|skip_connect~0|nor_conv_3x3~1|none~2|")


def columns(scale: float = 1.0) -> dict[str, list[Any]]:
    """All cells with accuracies made up, the best of which are the benchmark's."""
    shares = torch.rand(len(NAMES), generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    found: dict[str, list[Any]] = {"arch": NAMES}
    return found | {name: (shares / shares.max() * best * scale).tolist() for name, best in BEST.items()}


def written(path: Path, table: dict[str, list[Any]]) -> Path:
    write = parquet.write_table if path.suffix == ".parquet" else csv.write_csv
    write(pa.table(table), path)
    return path


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> CellTable:
    return nasbench201(written(tmp_path_factory.mktemp("table") / "cells.parquet", columns()))


def test_accuracy_by_cell_and_by_string(table: CellTable):
    expected = dict(zip(NAMES, columns()["cifar10"], strict=True))
    assert table.accuracy(CELL) == table.accuracy(str(CELL)) == expected[str(CELL)]
    assert all(table.accuracy(name) == value for name, value in expected.items())


def test_the_column_is_told(table: CellTable):
    assert table.column == "cifar10"
    assert repr(table).endswith("cells.parquet': test accuracy in the column 'cifar10' of 15625 cells, best 94.37 %)")


@pytest.mark.parametrize("column", BEST)
def test_csv_and_parquet_are_the_same(column: str, tmp_path: Path):
    made = columns() | {"index": list(range(len(NAMES)))}
    found = [nasbench201(written(tmp_path / f"cells{suffix}", made), column) for suffix in (".csv", ".parquet")]
    for name in NAMES[::1000]:
        assert_close(found[0].accuracy(name), found[1].accuracy(name), rtol=1e-12, atol=0)
        assert_close(found[0].percentile(name), found[1].percentile(name))


def test_percentiles_of_cells_that_tie_are_their_middle(tmp_path: Path):
    made = columns()
    made["cifar10"] = [10.0] * 5000 + [50.0] * 10000 + [94.37] * 625
    table = nasbench201(written(tmp_path / "cells.parquet", made))
    for position, count_below, count_equal in ((0, 0, 5000), (5000, 5000, 10000), (15000, 15000, 625)):
        assert_close(table.percentile(NAMES[position]), 100 * (count_below + count_equal / 2) / 15625)


def test_a_cell_that_is_not_there(table: CellTable):
    with pytest.raises(
        ValueError, match=r"cells\.parquet has no cell '\|conv~0\|'\. A string such as '\|none~0\|.*Write the op"
    ):
        table.accuracy("|conv~0|")
    with pytest.raises(ValueError, match="has no cell '6111'"):
        table.percentile(6111)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"cifar10": columns(89.16 / 94.37)["cifar10"]},
            r"best cell of .* has 89\.16 in .*94\.37 % after 200.*89\.16 % after 12",
        ),
        (
            {"cifar10": columns()["cifar100"]},
            r"has 73\.51 in the column 'cifar10'.*Use accuracies of cifar10 in % after 200",
        ),
        ({"cifar10": columns(0.01)["cifar10"]}, r"has 0\.94 in the column 'cifar10'.*in % after 200 epochs: hp='200'"),
        ({"cifar10": [None, *columns()["cifar10"][1:]]}, r"'cifar10' of .* holds None\. Accuracies in % from 0 to 100"),
        ({"cifar10": [float("nan"), *columns()["cifar10"][1:]]}, r"holds nan\. Acc.* without cells left out"),
        ({"cifar10": ["high"] * len(NAMES)}, r"holds 'high'\."),
        (
            {"arch": [NAMES[1], *NAMES[1:]]},
            r"15625 rows with 15624 different cells .*Each of 15625 .*Make the whole table",
        ),
        (
            {"arch": [str(i) for i in range(len(NAMES))]},
            r"15625 different cells in the column 'arch', as \['0'\].* such as '\|nor",
        ),
    ],
)
def test_a_table_of_something_else_is_refused(change: dict[str, list[Any]], message: str, tmp_path: Path):
    with pytest.raises(ValueError, match=message):
        nasbench201(written(tmp_path / "cells.parquet", columns() | change))


def test_a_table_of_some_cells_or_columns_is_refused(tmp_path: Path):
    some = {name: values[:500] for name, values in columns().items()}
    with pytest.raises(ValueError, match="has 500 rows with 500 different cells"):
        nasbench201(written(tmp_path / "some.csv", some))
    less = {name: values for name, values in columns().items() if name != "cifar100"}
    with pytest.raises(
        ValueError, match=r"has no column 'cifar100'; its columns are arch, cifar10, image.*Rename the column"
    ):
        nasbench201(written(tmp_path / "less.csv", less), "cifar100")
    with pytest.raises(
        ValueError, match=r"the column 'cifar10_12' was asked for.*called cifar10, cifar100, imagenet16-120\. Use"
    ):
        nasbench201(tmp_path / "less.csv", "cifar10_12")


def test_files_that_cannot_be_read_are_named(tmp_path: Path):
    with pytest.raises(
        FileNotFoundError, match=r"no file .*none\.csv\. A Parquet or CSV file .*Check the path, or make one"
    ):
        nasbench201(tmp_path / "none.csv")
    (tmp_path / "NATS.pickle.pbz2").write_bytes(b"x")
    with pytest.raises(
        ValueError, match=r"pbz2 is neither a \.parquet nor a \.csv file.*archives are pickled and not read"
    ):
        nasbench201(tmp_path / "NATS.pickle.pbz2")
    whole = written(tmp_path / "cells.parquet", columns()).read_bytes()
    (tmp_path / "cells.parquet").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ValueError, match=r"cells\.parquet \(\d+ bytes\) cannot be read .*whole \.parquet file .*again"):
        nasbench201(tmp_path / "cells.parquet")


class Benchmark:
    """As much of the package nats_bench as the page on data uses; ``hp`` and ``is_random`` have its defaults."""

    def __init__(self, hp: str = "200") -> None:
        self.found = {hp: columns(), "12": columns(0.9)}

    def __len__(self) -> int:
        return len(NAMES)

    def arch(self, index: int) -> str:
        return NAMES[index]

    def get_more_info(self, index: int, dataset: str, hp: str = "12", is_random: bool = True) -> dict[str, float]:
        assert not is_random
        name = {"cifar10": "cifar10", "cifar100": "cifar100", "ImageNet16-120": "imagenet16-120"}[dataset]
        return {"test-accuracy": self.found[hp][name][index]}


def test_the_page_shows_how_to_make_a_table(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
):
    package = SimpleNamespace(create=lambda path, space, *, fast_mode, verbose: Benchmark())
    monkeypatch.setitem(sys.modules, "nats_bench", package)
    monkeypatch.chdir(tmp_path)
    make, use = [block.code for block in blocks((ROOT / "docs" / "data.md").read_text()) if block.language == "py"]
    exec(make, names := {})
    exec(use, names)
    assert "CellTable('nasbench201.parquet': test accuracy in the column 'cifar10'" in capsys.readouterr().out
    exec(make.replace(', hp="200"', ""), {})
    with pytest.raises(ValueError, match=r"the best cell of nasbench201\.parquet has 84\.93.*hp='200'"):
        nasbench201("nasbench201.parquet")


@pytest.mark.parametrize(
    ("column", "skips", "best", "median"),
    [("cifar10", 54.30, 94.37, 90.75), ("cifar100", 15.61, 73.51, 65.29), ("imagenet16-120", 16.32, 47.31, 36.39)],
)
def test_the_benchmark_itself(column: str, skips: float, best: float, median: float, data_folder: Path):
    table = nasbench201(data_folder / "nasbench201.parquet", column)
    assert_close(table.accuracy(Cell(("skip_connect",) * 6)), skips, rtol=0, atol=0.005)
    assert_close(max(table.accuracy(name) for name in NAMES), best, rtol=0, atol=0.005)
    middle = min(NAMES, key=lambda name: abs(table.percentile(name) - 50))
    assert_close(table.accuracy(middle), median, rtol=0, atol=0.01)
    unconnected = table.accuracy(Cell(("none",) * 6))
    assert unconnected <= 10
    assert table.percentile(Cell(("none",) * 6)) < 3


def test_the_benchmarks_short_schedule_is_refused(data_folder: Path, tmp_path: Path):
    made = parquet.read_table(data_folder / "nasbench201.parquet").select(["arch", "cifar10_12"])
    parquet.write_table(made.rename_columns(["arch", "cifar10"]), tmp_path / "short.parquet")
    with pytest.raises(ValueError, match=r"has 89\.16 in the column 'cifar10'"):
        nasbench201(tmp_path / "short.parquet")
