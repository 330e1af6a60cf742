"""The state that all sites of a model share: its branches and the selection that is open now."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from renorm.routing.names import Branches
from renorm.routing.recompute import Forwards, rerun
from renorm.routing.selection import Alternating, BySample, Selection
from renorm.routing.spec import Labels, told


class Visit(NamedTuple):
    """What one site does in one forward: how the rows it sees are divided, and whether it is a rerun."""

    selection: Selection
    recomputed: bool

    @property
    def repeats(self) -> int:
        """The selection knows every row."""
        return 1


class Route(Branches):
    """The branches of a model and the selection its sites follow. One object, held by every site.

    Args:
        branches: their names.
        unknown: whether samples may belong to no branch, which is then called ``"unknown"``; all sites must know what to do.
    """

    def __init__(self, branches: Sequence[str], unknown: bool = False) -> None:
        super().__init__(branches, unknown)
        self.first = Alternating((0,), torch.tensor([0]))
        self.open: Selection | None = None
        self.sticky: dict[bool, Selection | None] = {True: None, False: None}
        self.frozen = 0
        self.size: int | None = None
        self._forwards: Forwards[tuple[Selection, int | None]] = Forwards()

    def begin(self, module: nn.Module, args: tuple[Any, ...], kwargs: Mapping[str, Any] | None = None) -> None:
        """Forward pre-hook of the model's root: remember how many samples this forward has, by its first argument."""
        first = args[0] if args else next(iter((kwargs or {}).values()), None)
        self.size = first.shape[0] if isinstance(first, Tensor) and first.ndim else None

    def end(self, module: nn.Module, args: tuple[Any, ...], output: Any) -> None:
        """Forward hook of the model's root."""
        self.size = None

    def visit(self, num_samples: int, training: bool, site: str) -> Visit:
        """The selection a site that sees ``num_samples`` must follow now."""
        again = rerun()
        selection, size = (
            self._forwards.recall(f"site {site!r}") if again else (self.current(training, site), self.size)
        )
        if not again and not torch.compiler.is_compiling():
            self._forwards.remember((selection, size))
        return Visit(_followed(selection, num_samples, size, site), again)

    def told(self, labels: Labels, num_samples: int, site: str) -> Visit:
        """The selection of a site that is given labels in place of a route; they are checked once per tensor."""
        return Visit(told(labels, self, num_samples, site), rerun())

    def selected(self, training: bool) -> Selection | None:
        """The open selection, else the lasting one."""
        return self.open or self.sticky[training]

    def current(self, training: bool, site: str = "") -> Selection:
        """The selection that is followed: the open one, else the lasting one, else (in evaluation) the first branch."""
        selection = self.selected(training)
        if selection is not None:
            return selection
        if not training or len(self.branches) == 1:
            return self.first
        raise RuntimeError(
            f"site {site!r} runs in training mode without a route. Training needs to know the branch of every sample, "
            f"one of {list(self.branches)}. Call the model inside `with renorm.route(model, ...)`, "
            f"or set a lasting one by renorm.route_(model, train=..., eval=...)."
        )


def _followed(selection: Selection, n: int, batch: int | None, site: str) -> Selection:
    """How the ``n`` rows of a site are divided, in a batch of so many samples (unknown if None)."""
    if selection.beside == 1:
        return selection
    size = len(selection.labels) if isinstance(selection, BySample) else n if batch is None else batch
    if not isinstance(selection, BySample) and not torch.compiler.is_compiling() and size % selection.beside:
        raise ValueError(
            f"a batch of {size} cannot be interleaved over {selection.beside} branches (site {site!r}). "
            f"Interleaving needs a multiple of {selection.beside}. Set drop_last=True in the DataLoader, or route "
            f"blocks: route(model, {{name: size, ...}})."
        )
    if n == size:
        return selection
    if size == 0 or n % size or batch not in (None, size):
        raise ValueError(
            f"site {site!r} got {n} samples where the route divides {size}"
            + (f", of a batch of {batch}. " if batch not in (None, size) else ". ")
            + "A route divides the whole batch, by sizes or labels; a site then sees as many samples, or a multiple "
            "(time or patches folded into the batch, sample by sample). Give the route the sizes of this batch."
        )
    return selection.folded(n // size, "sample", size)


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
