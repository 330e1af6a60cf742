"""Branches for norms of any other class: one whole copy of the module per branch."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from contextlib import ExitStack
from typing import Any

import torch
from torch import Tensor, nn

from renorm.routing import Route, Selection, borrowed_statistics


class BranchCopies(nn.Module):
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

    @property
    def branches(self) -> tuple[str, ...]:
        """Names of the branches, in order."""
        return self.route.branches

    def add(self, branch: str, norm: nn.Module) -> None:
        """Add a copy of a norm as a branch; not by add_module, which refuses names like ``train``."""
        if branch in vars(self):
            raise ValueError(
                f"a branch {branch!r} was given for a norm that is copied whole ({type(norm).__name__}). Copies are children "
                f"named by their branches, and {branch!r} is taken. Choose another name, or exclude the norm by sites=."
            )
        self._modules[branch] = copy.deepcopy(norm)

    def of(self, branch: int) -> nn.Module:
        """The copy of a branch."""
        return self._modules[self.branches[branch]]  # pyright: ignore[reportReturnType]

    def forward(self, x: Tensor) -> Tensor:
        visit = self.route.visit(x.shape[0], self.training, self.name)
        with ExitStack() as stack:
            if self.training and (visit.recomputed or self.route.frozen):
                stack.enter_context(borrowed_statistics(self.modules()))
            if visit.selection.kind == "whole":
                y = self.of(visit.selection.branches[0])(x)
            else:
                y = self._apart(x, visit.selection, visit.repeats)
        return y + self._zero() if self.training and torch.is_grad_enabled() else y

    def _apart(self, x: Tensor, selection: Selection, repeats: int) -> Tensor:
        index = selection.of_samples(x.shape[0] // repeats, repeats, x.device)
        members = [(row, (index == row).nonzero().squeeze(1)) for row in selection.branches]
        members = [(row, where) for row, where in members if len(where)]
        if not members:
            return self.of(selection.branches[0])(x)
        parts = [self.of(row)(x[where]) for row, where in members]
        order = torch.cat([where for _, where in members]).argsort()
        return torch.cat(parts)[order]

    def _zero(self) -> Tensor | int:
        """A zero that depends on every parameter: absent branches get gradients of 0, for which parallel training waits."""
        return sum(p.flatten()[:0].sum() for p in self.parameters())

    def _save_to_state_dict(self, destination: Any, prefix: str, keep_vars: bool) -> None:
        super()._save_to_state_dict(destination, prefix, keep_vars)
        metadata = getattr(destination, "_metadata", None)
        if metadata is not None:
            metadata.setdefault(prefix[:-1], {})["branches"] = list(self.branches)

    def _load_from_state_dict(  # pyright: ignore[reportIncompatibleMethodOverride]
        self, state_dict: dict[str, Any], prefix: str, metadata: Any, *args: Any
    ) -> None:
        check_branches(prefix[:-1], metadata, self.branches, args[-1])
        inner = [f"{prefix}{branch}." for branch in self.branches]
        plain = [key for key in state_dict if key.startswith(prefix) and not key.startswith(tuple(inner))]
        for key in plain:  # load_state_dict works on a copy of the caller's mapping, made for such changes
            value = state_dict.pop(key)
            state_dict.update({start + key.removeprefix(prefix): value for start in inner})
        super()._load_from_state_dict(state_dict, prefix, metadata, *args)


def check_branches(site: str, metadata: dict[str, Any], branches: Sequence[str], errors: list[str]) -> bool:
    """Whether a checkpoint's branches are the site's; if not, an error is added."""
    saved = metadata.get("branches")
    if saved is None or list(saved) == list(branches):
        return True
    errors.append(
        f"{site}: the checkpoint has branches {list(saved)}, the model {list(branches)}. "
        f"Their names and order must agree. Convert the model with the checkpoint's branches."
    )
    return False
