from __future__ import annotations

import itertools
import pickle
from collections import Counter
from pathlib import Path

import pytest
import torch
from torch.testing import assert_close

from renorm.models import Cell
from renorm.models.cell import EDGES, OPERATIONS

PATH = "|nor_conv_3x3~0|+|skip_connect~0|nor_conv_3x3~1|+|nor_conv_1x1~0|avg_pool_3x3~1|nor_conv_3x3~2|"
EVERY = [Cell(operations) for operations in itertools.product(OPERATIONS, repeat=6)]


def has_path(cell: Cell) -> bool:
    """Try all walks from the output back to the input."""
    open_edges = {edge for edge, operation in zip(EDGES, cell.operations, strict=True) if operation != "none"}
    walks = [(3, 0), (3, 1, 0), (3, 2, 0), (3, 2, 1, 0)]
    return any(set(itertools.pairwise(walk)) <= open_edges for walk in walks)


def naive_has_path(cell: Cell) -> bool:
    """Some edge leaves the input and some edge reaches the output."""
    used = [edge for edge, operation in zip(EDGES, cell.operations, strict=True) if operation != "none"]
    return any(start == 0 for _, start in used) and any(end == 3 for end, _ in used)


def output(cell: Cell, x: float) -> float:
    """The cell on numbers: convolutions and pooling as functions that do not commute with sums."""
    functions = {
        "none": lambda _: 0.0,
        "skip_connect": lambda v: v,
        "nor_conv_1x1": lambda v: v * v,
        "nor_conv_3x3": lambda v: v**3 / 2,
        "avg_pool_3x3": lambda v: 3 * v - v**2 / 7,
    }
    nodes = [x, 0.0, 0.0, 0.0]
    for operation, (end, start) in zip(cell.operations, EDGES, strict=True):
        nodes[end] += functions[operation](nodes[start])
    return nodes[3]


def test_a_string_and_its_cell():
    cell = Cell.parse(PATH)
    assert cell.operations[:3] == ("nor_conv_3x3", "skip_connect", "nor_conv_3x3")
    assert cell.numbers == (3, 1, 3, 2, 4, 3)
    assert str(cell) == PATH
    assert eval(repr(cell)) == cell
    assert pickle.loads(pickle.dumps(cell)) == cell
    assert len({cell, Cell.numbered([3, 1, 3, 2, 4, 3])}) == 1


def test_every_string_is_read_back():
    assert len({str(cell) for cell in EVERY}) == 5**6
    assert all(Cell.parse(str(cell)) == cell and Cell.numbered(cell.numbers) == cell for cell in EVERY)


@pytest.mark.parametrize(
    "text",
    [
        "",
        PATH[:-1],
        PATH + " ",
        PATH.replace("nor_conv_3x3", "conv3x3"),
        "|nor_conv_3x3~0|+|nor_conv_3x3~1|skip_connect~0|+|nor_conv_1x1~0|avg_pool_3x3~1|nor_conv_3x3~2|",
        "|nor_conv_3x3~0|+|nor_conv_3x3~0|skip_connect~1|",
        "(3, 1, 3, 2, 4, 3)",
    ],
)
def test_what_is_no_cell_is_refused(text: str):
    with pytest.raises(
        ValueError, match=r"is no cell of NAS-Bench-201\. A string such as '\|nor_conv_3x3~0.*Write them out"
    ):
        Cell.parse(text)


def test_operations_that_make_no_cell_are_refused():
    with pytest.raises(
        ValueError, match=r"5 operations were given\. A cell has one on each of its 6 edges, of none, .*six"
    ):
        Cell(("none",) * 5)
    with pytest.raises(ValueError, match=r"6 operations were given, unknown ones among them: 'pool'\. A cell has"):
        Cell(("none",) * 5 + ("pool",))
    for numbers in ([0, 1, 2, 3, 4, 5], [-1] * 6):
        with pytest.raises(
            ValueError, match=r"the operations \[.*\] were given\. Numbers from 0 to 4 .*Take the argmax"
        ):
            Cell.numbered(numbers)


def test_a_cell_is_connected_by_a_path_of_edges():
    assert all(cell.connected == has_path(cell) for cell in EVERY)
    assert sum(not cell.connected for cell in EVERY) == 341
    with pytest.raises(AssertionError):
        assert all(naive_has_path(cell) == has_path(cell) for cell in EVERY)


def test_uniform_cells_are_connected_and_each_as_likely():
    own = torch.Generator().manual_seed(1)
    drawn = [Cell.uniform(own) for _ in range(4000)]
    assert all(cell.connected for cell in drawn)
    connected = [cell for cell in EVERY if cell.connected]
    for edge in range(6):
        share = Counter(cell.operations[edge] for cell in connected)
        found = Counter(cell.operations[edge] for cell in drawn)
        for name in OPERATIONS:
            assert_close(found[name] / 4000, share[name] / len(connected), rtol=0, atol=0.025)
    assert len(set(drawn)) > 3400
    assert Cell.uniform(torch.Generator().manual_seed(5)) == Cell.uniform(torch.Generator().manual_seed(5))


def test_edges_without_parameters():
    assert Cell.parse(PATH).free_edges == 2
    assert Cell.numbered([0, 1, 4, 0, 1, 4]).free_edges == 6


def test_conditions_take_the_first_node_as_lowest_digit():
    cell = Cell.parse(PATH)
    assert [cell.condition(node) for node in range(3)] == [0, 3, 16]
    backwards = 5 * cell.numbers[1] + cell.numbers[2]
    assert backwards != cell.condition(2)
    for node in range(3):
        assert {each.condition(node) for each in EVERY} == set(range(5**node))


def test_cells_of_one_graph_compute_the_same():
    graphs: dict[str, list[Cell]] = {}
    for cell in EVERY:
        graphs.setdefault(cell.graph, []).append(cell)
    assert len(graphs) == 6466
    for cells in graphs.values():
        values = [output(cell, 0.7) for cell in cells]
        assert_close(values, values[:1] * len(values), rtol=1e-9, atol=1e-12)


def test_a_graph_is_more_than_its_operations():
    a, b = Cell.numbered([2, 0, 3, 0, 0, 1]), Cell.numbered([3, 0, 2, 0, 0, 1])
    assert sorted(a.operations) == sorted(b.operations)
    assert a.graph != b.graph
    assert abs(output(a, 0.7) - output(b, 0.7)) > 1e-3


def test_the_table_has_every_cell_and_its_graph(data_folder: Path):
    from pyarrow.parquet import read_table

    table = read_table(data_folder / "nasbench201.parquet").to_pylist()
    assert {row["arch"] for row in table} == {str(cell) for cell in EVERY}
    pairs = {(Cell.parse(row["arch"]).graph, row["graph"]) for row in table}
    assert len(pairs) == len({graph for graph, _ in pairs}) == len({number for _, number in pairs}) == 6466
    sums = {edges: [0.0, 0] for edges in range(7)}
    for row in table:
        entry = sums[6 - Cell.parse(row["arch"]).free_edges]
        entry[0], entry[1] = entry[0] + row["cifar10"], entry[1] + 1
    means = [round(total / number, 1) for total, number in sums.values()]
    assert means == [66.3, 81.1, 87.4, 90.8, 92.3, 92.9, 93.2]
