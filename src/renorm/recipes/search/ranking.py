"""How well shared weights order cells: each evaluated along its path by several statistics, against the table."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from renorm.banks import Bank, measure, using
from renorm.data import CellTable, Images
from renorm.layers import frozen_statistics
from renorm.metrics import RankAgreement, better_third, rank_agreement
from renorm.models import Cell, Supernet

TRAINED, RECALIBRATED, BATCH = "trained", "recalibrated", "batch"
WAYS = (TRAINED, RECALIBRATED, BATCH)
FEWEST = 30  # cells, below which nothing is said of an order
CEILING = 0.91  # tau-b of two cells of one graph with each other, which differ by their seeds only


@dataclass(frozen=True)
class Ranking:
    """What was found of each cell.

    Args:
        cells: That were ranked.
        truth: Their accuracy in the table, in %, ``(M,)``.
        accuracy: Of each way, on the images that were judged, in 0..1, ``(M,)``.
        params: Of each cell alone, ``(M,)``: an order that needs no training.
        moved: How far each cell's recalibrated bank is from what training left, in standard deviations of the latter, mean over
            sites, ``(M,)``; empty where training leaves no statistics.
        images: How many were judged.
    """

    cells: tuple[Cell, ...]
    truth: Tensor
    accuracy: dict[str, Tensor]
    params: Tensor
    moved: Tensor
    images: int

    def agreement(self, way: str, seed: int = 0, *, better: bool = False) -> RankAgreement:
        """Both rank correlations of a way, or of ``"params"``, with the table; with intervals over cells.

        Args:
            better: Of the better third in the table only.

        Raises:
            ValueError: For fewer than 30 cells, or where all of them are equally good.
        """
        members = better_third(self.truth) if better else torch.ones(len(self.truth), dtype=torch.bool)
        found = self.params if way == "params" else self.accuracy[way]
        return rank_agreement(found[members], self.truth[members], seed)

    def best(self, way: str) -> Cell:
        """The cell that a way puts first."""
        return self.cells[int(self.accuracy[way].argmax())]


def sampled(number: int, seed: int) -> tuple[Cell, ...]:
    """Different cells that connect anything, each set of so many as likely.

    Raises:
        ValueError: If they are fewer than 30, or more than there are.
    """
    if not FEWEST <= number <= 15_284:
        raise ValueError(
            f"{number} cells to rank were asked for. At least {FEWEST} say something of an order, and 15284 connect their input "
            f"to their output. Ask for a number between."
        )
    generator, found = torch.Generator().manual_seed(seed), {}
    while len(found) < number:
        found.setdefault(Cell.uniform(generator))
    return tuple(found)


def rank(
    net: Supernet,
    cells: Sequence[Cell],
    table: CellTable,
    judged: Images,
    training: Callable[[], Iterator[Tensor]],
    *,
    ways: Sequence[str] | None = None,
    batch: int = 500,
    told: Callable[[int], None] | None = None,
) -> Ranking:
    """Evaluate cells by the shared weights. The supernet is left as it is, and the order of the cells does not matter.

    ``trained`` uses the running statistics that training left, of each norm's condition where it has conditions;
    ``recalibrated`` those measured on training images through the cell's own path; ``batch`` those of the judged batch, which
    sees other images to predict.

    Args:
        net: Trained by single paths.
        cells: At least 30 for an order.
        table: What is true.
        judged: Images that nothing was trained on.
        training: Gives normalized batches of training images to measure on; the same for each cell.
        ways: Of the three; by default all that the supernet has.
        batch: Images that are judged at once.
        told: Is told after each cell how many are done.

    Raises:
        ValueError: For an unknown way, a cell without a path, one that is not in the table, or a condition that no image passed.
    """
    ways = tuple(ways or [way for way in WAYS if way != TRAINED or net.statistics != "batch"])
    _check(net, cells, ways)
    images = _normalized(judged, batch, net.alpha)
    found: dict[str, list[float]] = {way: [] for way in ways}
    moved, params = [], []
    for number, cell in enumerate(cells, 1):
        plain = net.fold(cell, statistics=False).eval()
        params.append(sum(p.numel() for p in plain.parameters()))
        banks = _banks(net, cell, plain, ways, training)
        for way in ways:
            found[way].append(_accuracy(plain, images, judged.labels, banks.get(way)))
        if len(banks) == 2:
            distances = banks[TRAINED].distance(banks[RECALIBRATED]).values()
            moved.append(sum(distances) / len(distances))
        if told:
            told(number)
    truth = torch.tensor([table.accuracy(cell) for cell in cells], dtype=torch.float64)
    accuracy = {way: torch.tensor(values, dtype=torch.float64) for way, values in found.items()}
    return Ranking(tuple(cells), truth, accuracy, torch.tensor(params).double(), torch.tensor(moved), len(judged))


def _check(net: Supernet, cells: Sequence[Cell], ways: Sequence[str]) -> None:
    unknown = [way for way in ways if way not in WAYS]
    if unknown or (TRAINED in ways and net.statistics == "batch"):
        raise ValueError(
            f"the ways {', '.join(ways)} were asked for. There are {', '.join(WAYS)}, and 'trained' needs a supernet whose "
            f"statistics are not 'batch'. Leave out the others."
        )
    apart = [cell for cell in cells if not cell.connected]
    if apart:
        raise ValueError(
            f"{len(apart)} of {len(cells)} cells lead nowhere, {apart[0]} among them. Without a path from its input to its "
            f"output a cell guesses. Take cells of Cell.uniform, or leave out those that are not connected."
        )


def _banks(
    net: Supernet, cell: Cell, plain: nn.Module, ways: Sequence[str], training: Callable[[], Iterator[Tensor]]
) -> dict[str, Bank]:
    banks = {}
    if TRAINED in ways:
        banks[TRAINED] = Bank.of(net.fold(cell))
    if RECALIBRATED in ways:
        banks[RECALIBRATED] = measure(plain, training())
    return banks


@torch.no_grad()
def _accuracy(plain: nn.Module, images: Sequence[Tensor], labels: Tensor, bank: Bank | None) -> float:
    """By a bank; without one by the batches themselves."""
    if bank is None:
        plain.train()
        with frozen_statistics(plain):
            predicted = [plain(x).argmax(1) for x in images]
        plain.eval()
    else:
        with using(plain, bank):
            predicted = [plain(x).argmax(1) for x in images]
    return float((torch.cat(predicted).cpu() == labels).double().mean())


def _normalized(images: Images, batch: int, like: Tensor) -> list[Tensor]:
    """All images as the network takes them, in batches of nearly one size."""
    number = max(1, round(len(images) / batch))
    return [images.normalized(indices).to(like) for indices in torch.arange(len(images)).tensor_split(number)]


def training_batches(images: Images, number: int, batch: int, like: Tensor, seed: int = 0) -> Callable[[], Any]:
    """What :func:`rank` measures on: so many of the images, the same at each call, not augmented."""
    drawn = torch.randperm(len(images), generator=torch.Generator().manual_seed(seed))[:number]
    found = _normalized(images.subset(drawn), batch, like)
    return lambda: iter(found)
