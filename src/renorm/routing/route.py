"""The state that all sites of a model share: its branches and the selection that is open now."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from renorm.routing.names import check_names, shown
from renorm.routing.selection import UNKNOWN, Labels, Selection, Spec, range_of, repeats_of


class Visit(NamedTuple):
    """What one site does in one forward: the selection, how often each sample is repeated, and whether it is a rerun."""

    selection: Selection
    repeats: int
    recomputed: bool


class Route:
    """The branches of a model and the selection its sites follow. One object, held by every site.

    Args:
        branches: their names.
        unknown: whether samples may belong to no branch, which is then called ``"unknown"``; all sites must know what to do.
    """

    def __init__(self, branches: Sequence[str], unknown: bool = False) -> None:
        self.unknown = unknown
        self.branches = check_names(branches, unknown)
        self.first = Selection("whole", (0,), (), 1, torch.tensor([0]))
        self.open: Selection | None = None
        self.sticky: dict[bool, Selection | None] = {True: None, False: None}
        self.frozen = 0
        self.size: int | None = None
        self._last: tuple[Selection, int | None] | None = None  # of the newest forward that may be recomputed
        self._ambiguous = False
        self._rerun = False
        self._reopened: tuple[Selection, int | None] | None = None

    def begin(self, module: nn.Module, args: tuple[Any, ...], kwargs: Mapping[str, Any] | None = None) -> None:
        """Forward pre-hook of the model's root: remember how many samples this forward has, by its first argument."""
        first = args[0] if args else next(iter((kwargs or {}).values()), None)
        self.size = first.shape[0] if isinstance(first, Tensor) and first.ndim else None

    def end(self, module: nn.Module, args: tuple[Any, ...], output: Any) -> None:
        """Forward hook of the model's root."""
        self.size = None

    def visit(self, num_samples: int, training: bool, site: str) -> Visit:
        """The selection a site that sees ``num_samples`` must follow now."""
        if torch.compiler.is_compiling() or torch._C._current_graph_task_id() == -1:
            selection = self.current(training, site)
            if not torch.compiler.is_compiling() and (training or torch.is_grad_enabled()):
                self._remember(selection)
            return Visit(selection, repeats_of(selection, num_samples, self.size, site), False)
        selection, size = self._recall(training, site)
        return Visit(selection, repeats_of(selection, num_samples, size, site), True)

    def told(self, labels: Labels, num_samples: int, site: str) -> Visit:
        """The selection of a site that is given labels in place of a route; they are checked once per tensor."""
        compiling = torch.compiler.is_compiling()
        if isinstance(labels, Tensor):
            selection = self._labels(labels, None, check=not compiling)
            if len(labels) != num_samples:
                raise ValueError(
                    f"site {site!r} got {num_samples} samples and {len(labels)} labels. Each sample needs one. Give the labels "
                    f"of this batch, or one branch for all of it."
                )
        else:
            selection = self.parse((self._named(labels),), None)
        again = not compiling and torch._C._current_graph_task_id() != -1
        return Visit(selection, 1, again)

    def current(self, training: bool, site: str = "") -> Selection:
        """The open selection, else the sticky one, else (in evaluation) the first branch."""
        if self.open is not None:
            return self.open
        sticky = self.sticky[training]
        if sticky is not None:
            return sticky
        if not training or len(self.branches) == 1:
            return self.first
        raise RuntimeError(
            f"site {site!r} runs in training mode without a route. Training needs to know the branch of every sample, "
            f"one of {list(self.branches)}. Call the model inside `with renorm.route(model, ...)`, "
            f"or set a lasting one by renorm.route_(model, train=..., eval=...)."
        )

    def parse(self, spec: tuple[Spec, ...], device: torch.device | None, check: bool = True) -> Selection:
        """Read the arguments of :func:`route`."""
        if len(spec) == 1 and not isinstance(spec[0], str):
            if isinstance(spec[0], Tensor):
                return self._labels(spec[0], device, check)
            if isinstance(spec[0], Mapping):
                return self._blocks(spec[0], device)
            spec = tuple(spec[0]) if isinstance(spec[0], Sequence) else spec
        if not spec or not all(isinstance(name, str) for name in spec):
            raise TypeError(
                f"route got {spec!r}. It needs branch names, a dict from names to block sizes, or a tensor (N,) of branch "
                f"indices. For example route(model, {self.branches[0]!r})."
            )
        rows = self.rows(spec)  # pyright: ignore[reportArgumentType]
        kind = "whole" if len(rows) == 1 else "interleaved"
        return Selection(kind, rows, (), len(rows), torch.tensor(rows, device=device))

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

    def _named(self, label: str | int) -> str:
        """The branch of a whole batch, by its name or index."""
        if not isinstance(label, (str, int)) or isinstance(label, bool):
            raise TypeError(
                f"labels of type {type(label).__name__} were given. A site takes a tensor (N,) int64, or for the whole batch one "
                f"branch, its name or index. Convert them by torch.tensor(...)."
            )
        if isinstance(label, str):
            return label
        if not (UNKNOWN if self.unknown else 0) <= label < len(self.branches):
            raise ValueError(
                f"label {label} was given. The {len(self.branches)} branches {shown(self.branches)} are 0 to "
                f"{len(self.branches) - 1}. Map the label to a branch first."
            )
        return self.name_of(label)

    def name_of(self, row: int) -> str:
        """Name of a branch by index."""
        return "unknown" if row == UNKNOWN else self.branches[row]

    def _blocks(self, sizes: Mapping[str, int], device: torch.device | None) -> Selection:
        rows, counts = self.rows(tuple(sizes)), tuple(int(n) for n in sizes.values())
        if not rows or min(counts) < 0:
            raise ValueError(f"block sizes {dict(sizes)} were given. Each branch needs a size >= 0. Correct the sizes.")
        index = torch.tensor(
            [row for row, count in zip(rows, counts, strict=True) for _ in range(count)], dtype=torch.int64
        )
        return Selection("blocks", rows, counts, len(rows), index.to(device))

    def _labels(self, labels: Tensor, device: torch.device | None, check: bool) -> Selection:
        if labels.ndim != 1 or labels.dtype != torch.int64:
            raise TypeError(
                f"labels of shape {tuple(labels.shape)} and {labels.dtype} were given. A route by sample needs (N,) int64. "
                f"Flatten them and convert by .long()."
            )
        count = len(self.branches)
        low, high = range_of(labels) if check and labels.numel() else (0, 0)
        if not (UNKNOWN if self.unknown else 0) <= low <= high < count:
            raise ValueError(
                f"labels between {low} and {high} were given. The {count} branches "
                f"{shown(self.branches)} are 0 to {count - 1}"
                + (", and -1 (unknown) has no affine of its own here. " if low == UNKNOWN else ". ")
                + "Map the labels to branches first."
            )
        return Selection("labels", tuple(range(count)), (), count, labels if device is None else labels.to(device))

    def _remember(self, selection: Selection) -> None:
        if self._rerun:
            self._last, self._ambiguous, self._rerun = None, False, False
        if self._last is not None and not (selection.same(self._last[0]) and self.size == self._last[1]):
            self._ambiguous = True
        self._last = (selection, self.size)

    def _recall(self, training: bool, site: str) -> tuple[Selection, int | None]:
        """The selection of the forward that is being recomputed, which the open one may differ from."""
        if self._reopened is not None:
            return self._reopened
        self._rerun = True
        last = self._last or (self.current(training, site), self.size)
        differs = self.open is not None and not self.open.same(last[0])
        if self._ambiguous or differs:
            raise RuntimeError(
                f"site {site!r} is recomputed by activation checkpointing, and the forwards since the last backward used "
                f"different routes. The recomputation needs the route its forward had. Call backward inside the `with` of "
                f"each forward, or give the checkpoint context_fn=renorm.routing.checkpoint_contexts(model)."
            )
        return last


def routes_of(model: nn.Module) -> list[Route]:
    """The distinct routes of a model's sites, usually one."""
    found = (vars(module).get("route") for module in model.modules())
    routes = {id(route): route for route in found if isinstance(route, Route)}
    if not routes:
        raise ValueError(
            f"{type(model).__name__} has no branched site. Routes need a model with branches. "
            f'Convert it first: renorm.split_(model, ["weak", "strong"]).'
        )
    return list(routes.values())


def route_of(model: nn.Module) -> Route | None:
    """The route of a model's sites, the first if there are several; None for a plain model."""
    found = (vars(module).get("route") for module in model.modules())
    return next((route for route in found if isinstance(route, Route)), None)
