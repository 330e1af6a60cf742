"""The state that all sites of a model share: its branches and the selection that is open now."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from renorm.notice import Notice
from renorm.routing.folding import followed
from renorm.routing.names import Branches
from renorm.routing.recompute import Forwards, rerun
from renorm.routing.selection import Alternating, Selection
from renorm.routing.spec import Labels, told


class Visit(NamedTuple):
    """What one site does in one forward: how the rows it sees are divided, and whether it is a rerun."""

    selection: Selection
    recomputed: bool


class Route(Branches):
    """The branches of a model and the selection its sites follow. One object, held by every site.

    Args:
        branches: their names.
        unknown: whether samples may belong to no branch, which is then called ``"unknown"``; all sites must know what to do.
    """

    def __init__(self, branches: Sequence[str], unknown: bool = False) -> None:
        super().__init__(branches, unknown)
        self.first = Alternating((0,), torch.tensor([0], device="cpu"))
        self.told_first = False  # that evaluation uses the first branch; copies do not tell it again
        self.sticky: dict[bool, Selection | None] = {True: None, False: None}
        self._clear()

    def _clear(self) -> None:
        """Without a context: no block is open, no forward runs or may be run again."""
        self.open: Selection | None = None
        self.demanded: int | None = None  # the branch that labels given by hand must be of
        self.frozen = 0
        self.batch: Tensor | None = None  # its length is asked for; a number would be a constant of compiled code
        self.outermost: nn.Module | None = None
        self._forwards: Forwards[tuple[Selection, int | None]] = Forwards()

    def __getstate__(self) -> dict[str, Any]:
        """What a copy has: no block ends for it, so it takes only what lasts."""
        return {key: vars(self)[key] for key in ("branches", "unknown", "first", "sticky", "told_first")}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update({"told_first": False} | state)
        self._clear()

    def watch(self, root: nn.Module) -> list[RemovableHandle]:
        """Learn the size of batches from the calls of a module, by hooks; none where it is watched already."""
        if any(getattr(hook, "__self__", None) is self for hook in root._forward_pre_hooks.values()):
            return []
        return [root.register_forward_pre_hook(self.begin, with_kwargs=True), root.register_forward_hook(self.end)]

    def begin(self, module: nn.Module, args: tuple[Any, ...], kwargs: Mapping[str, Any] | None = None) -> None:
        """Forward pre-hook: the batch is what the outermost of the watched modules is given first, if that is a tensor."""
        if self.outermost is None or self.outermost is module:
            first = args[0] if args else next(iter((kwargs or {}).values()), None)
            self.batch = first if isinstance(first, Tensor) and first.ndim else None
            self.outermost = module

    def end(self, module: nn.Module, args: tuple[Any, ...], output: Any) -> None:
        """Forward hook."""
        if self.outermost is module:
            self.batch, self.outermost = None, None

    def visit(self, num_samples: int, training: bool, site: str) -> Visit:
        """The selection a site that sees ``num_samples`` must follow now."""
        again, size = rerun(), None if self.batch is None else self.batch.shape[0]
        selection = self.current(training, site) if not again else None
        if selection is None:
            selection, size = self._forwards.recall(f"site {site!r}")
        elif not torch.compiler.is_compiling():
            self._forwards.remember((selection, size))
        return Visit(followed(selection, num_samples, size, site), again)

    def told(self, labels: Labels, num_samples: int, site: str) -> Visit:
        """The selection of a site that is given labels in place of a route; they are checked once per tensor."""
        selection = told(labels, self, num_samples, site)
        if self.demanded is not None and not torch.compiler.is_compiling() and not selection.all_of(self.demanded):
            raise ValueError(
                f"site {site!r} is given its labels by the model itself, and they are not all of the branch that was asked for, "
                f"{self.name_of(self.demanded)!r}. Another one would be used unnoticed. Call the model with labels of "
                f"that branch alone, for instance by forward=."
            )
        return Visit(selection, rerun())

    def selected(self, training: bool) -> Selection | None:
        """The open selection, else the lasting one."""
        return self.open or self.sticky[training]

    def current(self, training: bool, site: str = "") -> Selection:
        """The selection that is followed: the open one, else the lasting one, else (in evaluation) the first branch."""
        selection = self.selected(training)
        if selection is not None:
            return selection
        if not training or len(self.branches) == 1:
            self._tell_first()
            return self.first
        raise RuntimeError(
            f"site {site!r} runs in training mode without a route. Training needs to know the branch of every sample, "
            f"one of {list(self.branches)}. Call the model inside `with renorm.route(model, ...)`, "
            f"or set a lasting one by renorm.route_(model, train=..., eval=...)."
        )

    def _tell_first(self) -> None:
        """Say once which branch evaluation uses, where nobody named one and there are others."""
        if torch.compiler.is_compiling() or self.told_first or len(self.branches) == 1:
            return
        self.told_first, first = True, self.branches[0]
        warnings.warn(
            f"evaluated without a route: the branch {first!r} is used, the first of {list(self.branches)}. Name one by `with "
            f"renorm.route(model, {first!r})`, or for all calls by renorm.route_(model, eval={first!r}).",
            Notice,
            stacklevel=2,
        )


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
