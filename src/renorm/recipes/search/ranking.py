"""How well shared weights order cells: each evaluated along its path by several statistics, against the table."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache

import torch
from torch import Tensor, nn

from renorm.banks import Bank, measure, using
from renorm.data import CellTable, Images
from renorm.layers import frozen_statistics
from renorm.metrics import RankAgreement, better_third, rank_agreement, rank_difference
from renorm.models import Cell, Supernet
from renorm.progress import told
from renorm.recipes.search.asked import BATCH, PARAMETERS, RECALIBRATED, TRAINED, USUAL_IMAGES

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
        moved: Of each recalibrated way how far a cell's bank is from what training left, in standard deviations of the latter,
            mean over sites, ``(M,)``; none where training left no statistics or they were not asked for.
        images: How many were judged.
    """

    cells: tuple[Cell, ...]
    truth: Tensor
    accuracy: dict[str, Tensor]
    params: Tensor
    moved: dict[str, Tensor]
    images: int

    def agreement(self, way: str, seed: int = 0, *, better: bool = False) -> RankAgreement:
        """Both rank correlations of a way, or of ``"parameters"``, with the table; with intervals over cells.

        Args:
            better: Of the better third in the table only.

        Raises:
            ValueError: For fewer than 30 cells, or where all of them are equally good.
        """
        members = self._members(better)
        return rank_agreement(self.values(way)[members], self.truth[members], seed)

    def gain(self, way: str, over: str, seed: int = 0, *, better: bool = False) -> RankAgreement:
        """How much better a way orders than another, as :meth:`agreement`."""
        members = self._members(better)
        return rank_difference(self.values(way)[members], self.values(over)[members], self.truth[members], seed)

    def values(self, way: str) -> Tensor:
        """What cells are ordered by, ``(M,)``."""
        return self.params if way == PARAMETERS else self.accuracy[way]

    def best(self, way: str) -> Cell:
        """The cell that a way puts first."""
        return self.cells[int(self.values(way).argmax())]

    def _members(self, better: bool) -> Tensor:
        return better_third(self.truth) if better else torch.ones(len(self.truth), dtype=torch.bool)


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


def first_cells(accuracy: Mapping[str, Tensor], seed: int) -> dict[str, Cell]:
    """The cell that each way puts first, of the cells that :func:`sampled` draws by a seed.

    Args:
        accuracy: Of each way, ``(M,)``.
        seed: Of the draw.
    """
    return {way: sampled(len(values), seed)[int(values.argmax())] for way, values in accuracy.items()}


def rank(
    net: Supernet,
    cells: Sequence[Cell],
    table: CellTable,
    judged: Images,
    training: Callable[[int | None], Iterator[Tensor]],
    *,
    ways: Sequence[str] | None = None,
    batch: int = 500,
) -> Ranking:
    """Evaluate cells by the shared weights. The supernet is left as it is, and the order of the cells does not matter.

    ``trained`` uses the running statistics that training left, of each norm's condition where it has conditions;
    ``recalibrated`` those measured on training images through the cell's own path, and ``recalibrated:32`` on 32 of them;
    ``batch`` those of the judged batch, which sees other images to predict.

    Args:
        net: Trained by single paths.
        cells: At least 30 for an order.
        table: What is true.
        judged: Images that nothing was trained on.
        training: Gives normalized batches of so many training images to measure on, or of all; the same for each cell.
        ways: By default all that the supernet has.
        batch: Images that are judged at once.

    Raises:
        ValueError: For an unknown way, a cell without a path, one that is not in the table, or a condition that no image passed.
    """
    ways = tuple(ways or usual_ways(net))
    _check(net, cells, ways)
    images = _normalized(judged, batch, net.alpha)
    found: dict[str, list[float]] = {way: [] for way in ways}
    moved: dict[str, list[float]] = {}
    params = []
    for cell in told(cells, "ranking", len(cells), "cells"):
        plain = net.fold(cell, statistics=False).eval()
        params.append(sum(p.numel() for p in plain.parameters()))
        banks = _banks(net, cell, plain, ways, training)
        for way in ways:
            found[way].append(_accuracy(plain, images, judged.labels, banks.get(way)))
        for way in banks.keys() - {TRAINED} if TRAINED in banks else ():
            distances = banks[TRAINED].distance(banks[way]).values()
            moved.setdefault(way, []).append(sum(distances) / max(1, len(distances)))
    truth = torch.tensor([table.accuracy(cell) for cell in cells], dtype=torch.float64)
    accuracy = {way: torch.tensor(values, dtype=torch.float64) for way, values in found.items()}
    apart = {way: torch.tensor(values, dtype=torch.float64) for way, values in moved.items()}
    return Ranking(tuple(cells), truth, accuracy, torch.tensor(params).double(), apart, len(judged))


def usual_ways(net: Supernet) -> list[str]:
    """What a supernet's cells can be evaluated by."""
    return [*([] if net.statistics == "batch" else [TRAINED]), RECALIBRATED, BATCH]


def measured_on(way: str) -> int | None:
    """How many images a recalibrated way measures on; all where it does not say.

    Raises:
        ValueError: If it is none, or says no number.
    """
    name, _, number = way.partition(":")
    if name != RECALIBRATED or (":" in way and not (number.isdecimal() and int(number) > 1)):
        raise ValueError(
            f"cells were to be evaluated by {way!r}. There are {TRAINED}, {RECALIBRATED}:N for N images of at least 2, and "
            f"{BATCH}. Name some of these, say {RECALIBRATED}:{USUAL_IMAGES}."
        )
    return int(number) if number else None


def _check(net: Supernet, cells: Sequence[Cell], ways: Sequence[str]) -> None:
    for way in ways:
        if way not in (TRAINED, BATCH):
            measured_on(way)
    if TRAINED in ways and net.statistics == "batch":
        raise ValueError(
            f"{TRAINED!r} was asked for of a supernet that keeps no statistics, statistics='batch'. Its cells can be evaluated "
            f"by {', '.join(usual_ways(net))}. Name some of these, or train with --statistics shared or condition."
        )
    apart = [cell for cell in cells if not cell.connected]
    if apart:
        raise ValueError(
            f"{len(apart)} of {len(cells)} cells lead nowhere, {apart[0]} among them. Without a path from its input to its "
            f"output a cell guesses. Take cells of Cell.uniform, or leave out those that are not connected."
        )


def _banks(
    net: Supernet, cell: Cell, plain: nn.Module, ways: Sequence[str], training: Callable[[int | None], Iterator[Tensor]]
) -> dict[str, Bank]:
    banks = {way: measure(plain, training(measured_on(way))) for way in ways if way not in (TRAINED, BATCH)}
    return banks | ({TRAINED: _left(net, cell)} if TRAINED in ways else {})


def _left(net: Supernet, cell: Cell) -> Bank:
    """What training left a cell."""
    try:
        return Bank.of(net.fold(cell))
    except ValueError as error:
        raise ValueError(f"{error} To rank cells, train longer, or leave {TRAINED!r} out.") from error


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


def training_batches(
    images: Images, number: int, batch: int, like: Tensor, seed: int = 0
) -> Callable[[int | None], Iterator[Tensor]]:
    """What :func:`rank` measures on: so many of the images, the same at each call, not augmented; or the first few of them."""
    drawn = torch.randperm(len(images), generator=torch.Generator().manual_seed(seed))[:number]
    chosen = images.subset(drawn)

    @cache
    def batches(few: int) -> list[Tensor]:
        return _normalized(chosen.subset(range(few)), batch, like)

    return lambda few=None: iter(batches(len(chosen) if few is None else few))
