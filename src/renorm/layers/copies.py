"""Branches for norms of any other class: one whole copy of the module per branch."""

from __future__ import annotations

import copy
from collections.abc import Callable
from contextlib import ExitStack
from typing import Any, final

import torch
from torch import Tensor, nn

from renorm.layers.site import Affine, Running, Site, carry_state, running, same_values
from renorm.layers.statistics import borrowed_buffers
from renorm.routing import Route, Selection


@final
class BranchCopies(Site):
    """A copy of a norm per branch, each called on its own samples, so that no behaviour of its class is lost.

    Slower than :class:`SplitBatchNorm`, and labels wait for the device, as their counts are needed on the host. Copies are
    children named by their branches; a plain checkpoint loads strictly, each copy getting it. An absent branch gets zero
    gradients.

    Shape: as the norm's; samples are along the first axis.

    Args:
        norm: the module to copy.
        route: the model's route.
    """

    def __init__(self, norm: nn.Module, route: Route) -> None:
        super().__init__()
        self.route, self.name = route, ""
        for branch in route.branches:
            self.add(branch, norm)
        self.training = norm.training

    def add(self, branch: str, norm: nn.Module) -> None:
        """Add a copy of a norm as a branch; not by add_module, which refuses names like ``train``."""
        if branch in vars(self):
            raise ValueError(
                f"a branch {branch!r} was given for a norm that is copied whole ({type(norm).__name__}). Copies are children "
                f"named by their branches, and {branch!r} is taken. Choose another name, or exclude the norm by sites=."
            )
        self._modules[branch] = copy.deepcopy(norm)

    def called(self, row: int) -> nn.Module:
        """The copy of a branch."""
        return self._modules[self.branches[row]]  # pyright: ignore[reportReturnType]

    def forward(self, x: Tensor) -> Tensor:
        visit = self.route.visit(x.shape[0], self.training, self.name)
        with ExitStack() as stack:
            if self.training and (visit.recomputed or self.route.frozen):
                stack.enter_context(borrowed_buffers(self.modules()))
            only = visit.selection.only
            y = self._apart(x, visit.selection) if only is None else self.called(only)(x)
        return y + self._zero() if self.training and torch.is_grad_enabled() else y

    def _apart(self, x: Tensor, selection: Selection) -> Tensor:
        index = selection.index(len(x), x.device)
        members = [(row, (index == row).nonzero().squeeze(1)) for row in selection.rows]
        members = [(row, where) for row, where in members if len(where)]
        if not members:
            return self.called(selection.rows[0])(x)
        parts = [self.called(row)(x[where]) for row, where in members]
        order = torch.cat([where for _, where in members]).argsort()
        return torch.cat(parts)[order]

    def _zero(self) -> Tensor | int:
        """A zero that depends on every parameter: absent branches get gradients of 0, for which parallel training waits."""
        return sum(p.flatten()[:0].sum() for p in self.parameters())

    @property
    def num_populations(self) -> int:
        return len(self.branches)

    def statistics(self, row: int) -> Running | None:
        return running(self.called(row))

    def affine_of(self, row: int) -> Affine:
        weight, bias = (
            None if p is None else p.detach() for p in map(self.called(row)._parameters.get, ("weight", "bias"))
        )
        return weight, bias

    def own_parameters(self, row: int) -> dict[str, nn.Parameter]:
        return {
            key: p for key, p in self.called(row)._parameters.items() if p is not None and key in ("weight", "bias")
        }

    def sources(self, key: str) -> tuple[int, ...]:
        return ()

    def plain(self, row: int) -> nn.Module:
        norm = copy.deepcopy(self.called(row))
        carry_state(self, norm)
        return norm

    def grow_(self, branch: str, row: int, grown: dict[nn.Parameter, nn.Parameter]) -> Callable[[], None]:
        self.add(branch, self.called(row))
        return lambda: self._modules.pop(branch) and None

    def added_to(self, norm: nn.Module) -> dict[str, Tensor]:
        return {}

    def differs_from(self, norm: nn.Module, added: dict[str, Tensor]) -> bool:
        before, states = norm.state_dict(), [child.state_dict() for child in self.children()]
        return any(not same_values(state[key], value) for state in states for key, value in before.items())

    def repeat_plain_(self, state: dict[str, Any], prefix: str, named: bool) -> None:
        inner = [f"{prefix}{branch}." for branch in self.branches]
        for key in [key for key in state if key.startswith(prefix) and not key.startswith(tuple(inner))]:
            value = state.pop(key)
            state.update({start + key.removeprefix(prefix): value for start in inner})
