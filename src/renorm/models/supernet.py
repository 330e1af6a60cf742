"""All cells of NAS-Bench-201 in one network that shares their weights, with norms that may know what came before them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Generator, Tensor, nn

from renorm.layers import SandwichBatchNorm, Site, SplitBatchNorm, running
from renorm.models.cell import EDGES, OPERATIONS, Cell
from renorm.models.cell_network import KERNELS, CellNetwork, PlainCell, Stages, along, convolution, pooled

NORMS = ("affine-free", "affine", "conditional", "sandwich")
STATISTICS = ("batch", "shared", "condition")
SKIP, POOL = OPERATIONS.index("skip_connect"), OPERATIONS.index("avg_pool_3x3")
LEARNED = {name: OPERATIONS.index(name) for name in KERNELS}
BARE = (nn.Conv2d, nn.BatchNorm2d, SplitBatchNorm, SandwichBatchNorm)
Conditions = Sequence[Any]  # of the nodes that edges start from: 0, 1 and 2


class Supernet(Stages):
    r"""Every operation on every edge of the cells of NAS-Bench-201, mixed or one path at a time.

    As a mixture an edge gives :math:`\sum_o \mathrm{softmax}(\alpha_e)_o\, o(x)`, with one :math:`\alpha` for all cells; along
    a path it applies one operation. The norms behind the convolutions, 12 in each cell, may have *conditions*: which operations
    lead to the node that their edge leaves, :math:`5^j` for node j. In a mixture each cell draws one operation for each edge
    to say so (:meth:`draw`); along a path the condition is what was applied.

    Shape: ``(N, in_channels, H, W) -> (N, num_classes)``, H and W multiples of 4.

    Args:
        num_classes, width, cells, in_channels: as in :class:`CellNetwork`.
        norm: of the cells: ``"affine-free"``, ``"affine"``, ``"conditional"`` (an affine for each condition), or ``"sandwich"``
            (a shared affine, and on top of it one for each condition). The other norms are plain.
        statistics: what the cells' norms evaluate by: those of the ``"batch"``, as in training; running statistics that
            conditions share, ``"shared"``; or those of each ``"condition"``.
        generator: of the initial :math:`\alpha \sim N(0, 10^{-3})` and, for norms with conditions, scales from N(1, 0.02).

    Raises:
        ValueError: an unknown norm, statistics by condition without conditions, a size below 1.

    Reference: Liu, Simonyan & Yang, *DARTS: Differentiable Architecture Search*, ICLR 2019; Gong, Chen, Chen & Wang, *Sandwich
    batch normalization*, WACV 2022, section 4.2.

    Example:
        >>> generator = torch.Generator().manual_seed(0)
        >>> net = Supernet(10, width=4, cells=1, norm="sandwich", generator=generator)
        >>> x = torch.randn(2, 3, 8, 8)
        >>> net(x, net.draw(generator)).shape, net(x, Cell.uniform(generator)).shape
        (torch.Size([2, 10]), torch.Size([2, 10]))
    """

    def __init__(
        self,
        num_classes: int = 10,
        *,
        width: int = 16,
        cells: int = 5,
        in_channels: int = 3,
        norm: str = "affine-free",
        statistics: str = "batch",
        generator: Generator | None = None,
    ) -> None:
        make = _norms(norm, statistics, generator)
        super().__init__(lambda channels: MixedCell(channels, make), num_classes, width, cells, in_channels)
        self.norm, self.statistics = norm, statistics
        self.sizes: dict[str, int] = {"width": width, "cells": cells, "in_channels": in_channels}
        self.alpha = nn.Parameter(torch.empty(len(EDGES), len(OPERATIONS)).normal_(0, 1e-3, generator=generator))

    @property
    def conditional(self) -> bool:
        """Whether its norms have conditions."""
        return self.norm in ("conditional", "sandwich")

    def weights(self) -> Iterator[nn.Parameter]:
        """Every parameter but :math:`\\alpha`."""
        return (p for p in self.parameters() if p is not self.alpha)

    @torch.no_grad()
    def draw(self, generator: Generator | None = None) -> Tensor:
        r"""An operation for each edge of each cell from :math:`\mathrm{softmax}(\alpha)`, ``(cells, 6)`` int64 on the CPU."""
        chances = self.alpha.detach().double().cpu().softmax(1)
        return torch.multinomial(chances, len(self._cells()), replacement=True, generator=generator).T.contiguous()

    @property
    def found(self) -> Cell:
        """The cell of the largest weight on every edge, ``none`` included: it may connect nothing."""
        return Cell.numbered(self.alpha.detach().argmax(1).tolist())

    def forward(self, x: Tensor, path: Cell | Tensor | None = None) -> Tensor:
        """Logits of one cell, or of the mixture.

        Args:
            path: a cell; or for the mixture what :meth:`draw` gave, by which it can be repeated. By default the mixture whose
                conditions are the largest weights, as to evaluate.

        Raises:
            ValueError: norms with conditions train as a mixture without a draw; a draw for another number of cells.
        """
        if isinstance(path, Cell):
            return self.classified(x, lambda module, z: _mixed(module).along(path, z))
        conditions = self._conditions(path)
        mixture = self.alpha.softmax(1)
        return self.classified(x, lambda module, z: module(z, mixture, next(conditions)))

    def fold(self, cell: Cell | str, *, statistics: bool = True) -> CellNetwork:
        """The network of one cell alone, of plain layers, that computes what this one does along its path.

        Args:
            cell: which one, or its string.
            statistics: take the running statistics too. Without them the network is to be measured, or trained.

        Raises:
            ValueError: there are no running statistics, or no image has passed a norm under the condition of this cell.
        """
        cell = Cell.parse(cell) if isinstance(cell, str) else cell
        plain = CellNetwork(cell, self.linear.out_features, **self.sizes).to(self.alpha)
        own, given = self.state_dict(), plain.state_dict()
        plain.load_state_dict({key: own.get(key, value) for key, value in given.items()})
        for mine, theirs in zip(self.stages, plain.stages, strict=True):
            if isinstance(mine, MixedCell) and isinstance(theirs, PlainCell):
                mine.write_to_(theirs, statistics)
        return plain.train(self.training)

    def _cells(self) -> list[MixedCell]:
        return [module for module in self.stages if isinstance(module, MixedCell)]

    def _conditions(self, drawn: Tensor | None) -> Iterator[Conditions | None]:
        """Of each cell; integers, but tensors where code is compiled, which would be compiled again for each integer."""
        count = len(self._cells())
        if not self.conditional:
            return iter([None] * count)
        if drawn is None:
            if self.training:
                raise ValueError(
                    f"a supernet of {self.norm} norms was called as a mixture in training without a draw. Each cell needs an "
                    f"operation for each edge. Call it by net(x, net.draw(generator)), or along a cell."
                )
            drawn = self.alpha.detach().argmax(1).expand(count, -1)
        if drawn.shape != (count, len(EDGES)):
            raise ValueError(
                f"a draw of shape {tuple(drawn.shape)} was given. This network needs {(count, len(EDGES))}, a row for each cell "
                f"and an operation for each edge. Take net.draw(generator)."
            )
        first, second = drawn[:, 0], drawn[:, 1] + len(OPERATIONS) * drawn[:, 2]
        table = torch.stack([torch.zeros_like(first), first, second], 1)
        rows: Any = table.to(self.alpha.device) if torch.compiler.is_compiling() else table.tolist()
        return iter(rows)


class MixedCell(nn.Module):
    """All five operations on each edge: convolutions and norms by the numbers of their edges and operations."""

    def __init__(self, channels: int, norm: Callable[[int, int], nn.Module]) -> None:
        super().__init__()
        self.convs, self.norms = nn.ModuleDict(), nn.ModuleDict()
        for edge, (_, start) in enumerate(EDGES):
            for name, side in KERNELS.items():
                self.convs[f"{edge}_{side}x{side}"] = convolution(channels, name)
                self.norms[f"{edge}_{side}x{side}"] = norm(channels, len(OPERATIONS) ** start)

    def forward(self, x: Tensor, mixture: Tensor, conditions: Conditions | None) -> Tensor:
        convolved = self._side_by_side if self._bare else self._one_by_one
        nodes: list[Any] = [x, 0, 0, 0]
        for start in range(3):
            z = nodes[start]
            active, mean = F.relu(z), pooled(z)  # what the edges that leave a node have in common
            leaving = [edge for edge, (_, from_) in enumerate(EDGES) if from_ == start]
            condition = None if conditions is None else conditions[start]
            for edge, y in zip(leaving, convolved(leaving, active, mixture, condition), strict=True):
                end = EDGES[edge][0]
                nodes[end] = nodes[end] + mixture[edge, SKIP] * z + mixture[edge, POOL] * mean + y
        return nodes[3]

    @property
    def _bare(self) -> bool:
        """Whether nothing asks its convolutions and norms one by one: neither statistics nor hooks."""
        modules = [*self.convs.values(), *self.norms.values()]
        return all(
            not (each._forward_hooks or each._forward_pre_hooks)
            and type(each) in BARE  # no class put in later
            and not getattr(each, "track_running_stats", False)
            and getattr(each, "sync", None) is None
            for each in modules
        )

    def _one_by_one(self, edges: list[int], active: Tensor, mixture: Tensor, condition: Any) -> list[Any]:
        """Of each edge the weighted sum of its convolutions."""
        parts = [
            [mixture[edge, number] * self._convolved(edge, name, active, condition) for name, number in LEARNED.items()]
            for edge in edges
        ]
        return [sum(each[1:], each[0]) for each in parts]

    def _side_by_side(self, edges: list[int], active: Tensor, mixture: Tensor, condition: Any) -> Sequence[Tensor]:
        """The same, all convolutions of one size as one, and the weights in the scales and biases of their norms."""
        parts = []
        for name, number in LEARNED.items():
            keys = [_key(edge, name) for edge in edges]
            kernels: list[Any] = [self.convs[key].weight for key in keys]
            norms: list[Any] = [self.norms[key] for key in keys]
            y = F.conv2d(active, torch.cat(kernels), padding=KERNELS[name] // 2)
            weights = [mixture[edge, number] for edge in edges]
            scale, bias = _weighted(norms, weights, active.shape[1], condition)
            parts.append(F.batch_norm(y, None, None, scale, bias, training=True, eps=norms[0].eps))
        return (parts[0] + parts[1]).chunk(len(edges), 1)

    def along(self, cell: Cell, x: Tensor) -> Tensor:
        """One operation on each edge."""

        def convolved(edge: int, active: Tensor) -> Tensor:
            return self._convolved(edge, cell.operations[edge], active, cell.condition(EDGES[edge][1]))

        return along(cell, x, convolved)

    def _convolved(self, edge: int, operation: str, active: Tensor, condition: Any) -> Tensor:
        key = _key(edge, operation)
        norm, y = self.norms[key], self.convs[key](active)
        return norm(y, condition) if isinstance(norm, Site) else norm(y)

    @torch.no_grad()
    def write_to_(self, plain: PlainCell, statistics: bool) -> None:
        """Give a plain cell the weights of its path, and the statistics of its conditions."""
        for edge, conv in plain.convs.items():
            key = _key(int(edge), plain.cell.operations[int(edge)])
            conv.load_state_dict(self.convs[key].state_dict())
            norm, into = self.norms[key], plain.norms[edge]
            assert isinstance(norm, (Site, nn.BatchNorm2d))
            assert isinstance(into, nn.BatchNorm2d)
            row = plain.cell.condition(EDGES[int(edge)][1])
            affine = norm.affine_of(row) if isinstance(norm, Site) else (norm.weight, norm.bias)
            for own, value in zip((into.weight, into.bias), affine, strict=True):
                if value is not None:
                    own.copy_(value)
            if statistics:
                _write_statistics_(norm, row, into, f"{key}, condition {row} of {plain.cell}")


def supernet(num_classes: int = 10, width: int = 16, cells: int = 5, **options: Any) -> Supernet:
    """A :class:`Supernet`, by the name of what it is; takes its arguments."""
    return Supernet(num_classes, width=width, cells=cells, **options)


def _mixed(module: nn.Module) -> MixedCell:
    assert isinstance(module, MixedCell)
    return module


def _key(edge: int, operation: str) -> str:
    side = KERNELS[operation]
    return f"{edge}_{side}x{side}"


def _weighted(
    norms: Sequence[Any], weights: Sequence[Tensor], channels: int, condition: Any
) -> tuple[Tensor, Tensor | None]:
    """Scales and biases of norms side by side, each times a weight."""
    rows = _rows(condition)
    affines = [(norm.weight, norm.bias) if rows is None else norm.affines(rows) for norm in norms]
    if affines[0][0] is None:
        return torch.stack(list(weights)).repeat_interleave(channels), None
    scales, biases = zip(*affines, strict=True)
    given = [[w * each.view(-1) for w, each in zip(weights, side, strict=True)] for side in (scales, biases)]
    return torch.cat(given[0]), torch.cat(given[1])


def _rows(condition: Any) -> slice | Tensor | None:
    if condition is None or isinstance(condition, Tensor):
        return None if condition is None else condition.view(1)
    return slice(condition, condition + 1)


def _norms(norm: str, statistics: str, generator: Generator | None) -> Callable[[int, int], nn.Module]:
    """What makes a norm of so many channels and conditions."""
    if norm not in NORMS or statistics not in STATISTICS:
        raise ValueError(
            f"norm={norm!r} and statistics={statistics!r} were given. A supernet has one of {', '.join(NORMS)}, and statistics "
            f"of {', '.join(STATISTICS)}. Choose among these."
        )
    conditional = norm in ("conditional", "sandwich")
    if statistics == "condition" and not conditional:
        raise ValueError(
            f"statistics='condition' were given with norm={norm!r}, whose norms have no conditions. They need "
            f"'conditional' or 'sandwich'. Take one of these, or statistics='shared'."
        )
    tracked = statistics != "batch"

    def made(channels: int, conditions: int) -> nn.Module:
        if not conditional:
            return nn.BatchNorm2d(channels, affine=norm == "affine", track_running_stats=tracked)
        share = ("statistics",) if statistics == "shared" else ()
        options: Any = {"track_running_stats": tracked, "share": share, "generator": generator}
        options["init"] = "identity" if generator is None else "published"
        if norm == "sandwich":
            return SandwichBatchNorm(channels, conditions, unknown="error", **options)
        return SplitBatchNorm(channels, conditions, **options)

    return made


def _write_statistics_(norm: Site | nn.BatchNorm2d, row: int, into: nn.BatchNorm2d, where: str) -> None:
    found = norm.statistics(row) if isinstance(norm, Site) else running(norm)
    if found is None or found.num_batches is None:
        raise ValueError(
            f"the norm {where} has no running statistics. A network that evaluates needs them. Fold it with statistics=False "
            f"and measure it: renorm.recalibrate_(net.fold(cell, statistics=False), batches)."
        )
    if int(found.num_batches) == 0:
        raise ValueError(
            f"no image has passed the norm {where}. Its mean of 0 and variance of 1 are not measured. Fold it with "
            f"statistics=False and measure it: renorm.recalibrate_(net.fold(cell, statistics=False), batches)."
        )
    for own, value in zip((into.running_mean, into.running_var, into.num_batches_tracked), found, strict=True):
        if own is not None and value is not None:
            own.copy_(value)
