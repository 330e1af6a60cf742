"""Ranking cells by shared weights: every cell gets its number whatever came before it, and nothing of the supernet moves."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

import renorm
from renorm.data import CellTable, Images
from renorm.models import Cell, Supernet
from renorm.recipes.search.ranking import Ranking, rank, sampled, training_batches

CELLS = sampled(30, 0)
TABLE = CellTable(Path("made.csv"), "cifar10", {str(cell): 50.0 + i for i, cell in enumerate(CELLS)})


def made(number: int, seed: int) -> Images:
    pixels = torch.randint(0, 256, (number, 3, 8, 8), generator=torch.Generator().manual_seed(seed))
    return Images("made", pixels.to(torch.uint8), torch.arange(number) % 3, ["a", "b", "c"])


def trained(norm: str = "conditional", statistics: str = "condition", paths: tuple[Cell, ...] = CELLS) -> Supernet:
    generator = torch.Generator().manual_seed(0)
    torch.manual_seed(0)
    net = Supernet(3, width=2, cells=1, norm=norm, statistics=statistics, generator=generator)
    for cell in paths:
        net(torch.randn(8, 3, 8, 8, generator=generator), cell)
    return net


JUDGED, TRAINING = made(24, 0), made(24, 1)


def batches(few: int | None = None) -> Iterator[Tensor]:
    return iter([TRAINING.normalized(range(12)), TRAINING.normalized(range(12, few or 24))])


def test_the_order_of_cells_does_not_matter_and_the_supernet_stays():
    net = trained()
    before = {key: value.clone() for key, value in net.state_dict().items()}
    one, other = (rank(net, cells, TABLE, JUDGED, batches, batch=12) for cells in (CELLS[:8], CELLS[7::-1]))
    assert one.accuracy.keys() == {"trained", "recalibrated", "batch"}
    for way, found in one.accuracy.items():
        assert torch.equal(found, other.accuracy[way].flip(0)), way
    assert torch.equal(one.moved["recalibrated"], other.moved["recalibrated"].flip(0))
    assert all(torch.equal(value, before[key]) for key, value in net.state_dict().items())
    assert net.training


def test_each_way_is_what_its_name_says():
    net, cell = trained(), CELLS[0]
    found = rank(net, [cell], TABLE, JUDGED, batches, batch=12)
    images = [JUDGED.normalized(range(12)), JUDGED.normalized(range(12, 24))]

    def accuracy(model: Any) -> float:
        with torch.no_grad():
            return float((torch.cat([model(x) for x in images]).argmax(1) == JUDGED.labels).double().mean())

    net.eval()
    assert found.accuracy["trained"].item() == accuracy(lambda x: net(x, cell))
    plain = net.fold(cell, statistics=False)
    assert found.accuracy["batch"].item() == accuracy(plain.train())
    plain = net.fold(cell, statistics=False).eval()
    renorm.recalibrate_(plain, batches())
    assert found.accuracy["recalibrated"].item() == accuracy(plain)
    apart = renorm.Bank.of(net.fold(cell)).distance(renorm.Bank.of(plain))
    assert_close(found.moved["recalibrated"], torch.tensor([sum(apart.values()) / len(apart)], dtype=torch.float64))
    assert found.params.item() == sum(p.numel() for p in plain.parameters())


def test_an_order_is_told_with_its_interval_over_all_cells_and_the_better_third():
    found = rank(trained("affine", "batch"), sampled(90, 1), of(sampled(90, 1)), JUDGED, batches, batch=24)
    assert found.accuracy.keys() == {"recalibrated", "batch"}
    assert not found.moved
    better = found.gain("recalibrated", "batch").kendall
    assert better.value == pytest.approx(tau_of(found, "recalibrated") - tau_of(found, "batch"))
    tau = found.agreement("recalibrated").kendall
    assert tau.low < tau.value < tau.high
    assert found.agreement("parameters", better=True).num_ranked == 30
    assert found.best("batch") in found.cells


def tau_of(found: Ranking, way: str) -> float:
    return found.agreement(way).kendall.value


def of(cells: tuple[Cell, ...]) -> CellTable:
    return CellTable(Path("made.csv"), "cifar10", {str(cell): 50.0 + i // 2 for i, cell in enumerate(cells)})


def test_measuring_takes_the_same_images_for_each_cell():
    given = training_batches(TRAINING, 10, 5, torch.zeros(1), seed=3)
    one, other = list(given(None)), list(given(None))
    assert [len(x) for x in one] == [5, 5]
    assert all(torch.equal(a, b) for a, b in zip(one, other, strict=True))
    assert torch.equal(torch.cat(list(given(7))), torch.cat(one)[:7])


def test_cells_are_drawn_once_each_and_connected():
    cells = sampled(200, 5)
    assert len(set(cells)) == 200
    assert all(cell.connected for cell in cells)
    assert cells == sampled(200, 5)
    for number in (3, 16_000):
        with pytest.raises(ValueError, match=rf"{number} cells to rank.*At least 30"):
            sampled(number, 0)


def test_what_cannot_be_ranked_is_refused():
    with pytest.raises(
        ValueError, match=r"'trained' was asked for of a supernet that keeps no statistics.*recalibrated, batch"
    ):
        rank(trained("affine", "batch"), CELLS, TABLE, JUDGED, batches, ways=["trained"])
    for way in ("running", "recalibrated:1", "recalibrated:all", "batch:3"):
        with pytest.raises(
            ValueError, match=rf"evaluated by '{way}'.*recalibrated:N for N images.*say recalibrated:1024"
        ):
            rank(trained(), CELLS, TABLE, JUDGED, batches, ways=[way])
    apart = Cell(("none",) * 6)
    with pytest.raises(ValueError, match="1 of 2 cells lead nowhere"):
        rank(trained(), [CELLS[0], apart], TABLE, JUDGED, batches)
    with pytest.raises(ValueError, match=r"no image has passed the norm.* leave 'trained' out"):
        rank(trained(paths=CELLS[:1]), CELLS, TABLE, JUDGED, batches)
    few = rank(trained(), CELLS[:5], TABLE, JUDGED, batches, ways=["batch"])
    with pytest.raises(ValueError, match="at least 30 things"):
        few.agreement("parameters")
