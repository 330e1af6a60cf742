"""Adding a branch to a model that has some."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from torch.optim import Optimizer

from renorm.layers import extended, sites_of
from renorm.routing import Route, check_names, routes_of
from renorm.surgery.optimizer import replace_parameters


class Addition:
    """What :func:`add_branch_` did; ``undo()`` takes the branch away again."""

    def __init__(self, route: Route, branch: str, like: str) -> None:
        self._route, self.branch, self.like = route, branch, like
        self._row = len(route.branches)
        self._undo: list[Any] = []

    @torch.inference_mode(False)
    def undo(self) -> None:
        """Give the sites back the tensors they had, other branches' training since then included.

        Raises:
            RuntimeError: a route that is open or lasting names the branch.
        """
        routed = (self._route.open, *self._route.sticky.values())
        if self._undo and any(selection and self._row in selection.rows for selection in routed):
            raise RuntimeError(
                f"branch {self.branch!r} is in use: an open or lasting route names it. Removing it needs another route. "
                f"Leave the `with`, or undo the lasting route, first."
            )
        for step in reversed(self._undo):
            step()
        self._undo = []

    def __repr__(self) -> str:
        return f"branch {self.branch!r} added like {self.like!r}; branches are {', '.join(self._route.branches)}"


@torch.inference_mode(False)  # what is made can be trained, wherever it is made
def add_branch_(model: nn.Module, branch: str, like: str, *, optimizer: Optimizer | None = None) -> Addition:
    """Add a branch that starts as a copy of another, in place.

    Parameters grow, so they are new objects: pass the optimizer that holds the old ones.

    Raises:
        ValueError: a branch of that name exists, ``like`` does not, or the model has no branches.

    Example:
        >>> model = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 1), torch.nn.BatchNorm2d(4))
        >>> _ = renorm.split_(model, ["weak", "strong"])
        >>> renorm.add_branch_(model, "clean", like="weak")
        branch 'clean' added like 'weak'; branches are weak, strong, clean
    """
    routes = routes_of(model)
    if len(routes) > 1:
        raise ValueError(
            "the model has several routes. A branch is added to one. Pass the part of the model it belongs to."
        )
    (route,) = routes
    if branch in route.branches:
        raise ValueError(
            f"branch {branch!r} exists already: {list(route.branches)}. A new branch needs a new name. Choose one."
        )
    names, row = check_names((*route.branches, branch), route.unknown), route.row(like)
    report = Addition(route, branch, like)
    before = route.branches
    report._undo.append(lambda: setattr(route, "branches", before))
    grown: dict[nn.Parameter, nn.Parameter] = {}
    held = {id(p) for p in model.parameters()}
    try:
        for _, site in sites_of(model):
            report._undo.append(site.grow_(branch, row, grown))
        route.branches = names
        if optimizer is not None:
            _check_new(model, held | {id(p) for p in grown.values()})
            _carry(optimizer, list(grown.items()), row, len(before), report)
    except ValueError:
        report.undo()
        raise
    return report


def _check_new(model: nn.Module, known: set[int]) -> None:
    if not {id(p) for p in model.parameters()} <= known:
        raise ValueError(
            "optimizer= was given for a model with norms that are copied whole. Their new copy has parameters of its own. "
            "Add the branch, then give them to the optimizer by add_param_group."
        )


def _carry(optimizer: Optimizer, pairs: list[Any], row: int, rows: int, report: Addition) -> None:
    replace_parameters(optimizer, pairs, lambda state, old, new: extended(state, rows, row))
    back = [(new, old) for old, new in pairs]
    report._undo.append(lambda: replace_parameters(optimizer, back, lambda s, old, new: s[: new.numel()].clone()))
