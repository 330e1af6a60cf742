"""What a model with branches asks of each of its sites, whatever their class."""

from __future__ import annotations

import json
import weakref
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from renorm.functional import Affine
from renorm.routing import Route

NAMES = "branches"  # the key of a checkpoint under which a site names its branches, in order
HOOKS = (
    "_forward_hooks",
    "_forward_hooks_with_kwargs",
    "_forward_hooks_always_called",
    "_forward_pre_hooks",
    "_forward_pre_hooks_with_kwargs",
    "_backward_hooks",
    "_backward_pre_hooks",
    "_state_dict_hooks",
    "_state_dict_pre_hooks",
    "_load_state_dict_pre_hooks",
    "_load_state_dict_post_hooks",
)


class Running(NamedTuple):
    """Running statistics, ``(C,)``, and the number of batches they have seen, ``()``, where it is counted."""

    mean: Tensor
    var: Tensor
    num_batches: Tensor | None


class Site(nn.Module, ABC):
    """A normalization layer with branches: what is the same for every class of them.

    A branch is asked for by its row, its index among the branches; -1 is the row of samples of no branch.
    """

    route: Route
    name: str  # in the model that was converted

    @property
    def branches(self) -> tuple[str, ...]:
        """Names of the branches, in order."""
        return self.route.branches

    @property
    @abstractmethod
    def num_populations(self) -> int:
        """How many sets of statistics there are: one per branch, or one that they share."""

    @abstractmethod
    def statistics(self, row: int) -> Running | None:
        """Running statistics of a branch, as views: what is written to them is the site's. ``None`` where it has none."""

    @abstractmethod
    def affine_of(self, row: int) -> Affine:
        """Scale and bias of a branch, ``(C,)``, detached; views, but for those that are merged from several."""

    def writes(self, row: int, weight: Tensor | None, bias: Tensor | None) -> list[tuple[Tensor, Tensor]]:
        """Tensors of a branch with the values that make its affine the given one; nothing where it is that.

        Raises:
            ValueError: nothing of the branch's own can make it that.
        """
        pairs = zip(self.affine_of(row), (weight, bias), strict=True)
        return [(own, value) for own, value in pairs if own is not None and value is not None]

    @abstractmethod
    def own_parameters(self, row: int) -> dict[str, nn.Parameter]:
        """Parameters that a branch can be trained by, by their names in the site; not shared ones beside its own."""

    @abstractmethod
    def sources(self, key: str) -> tuple[int, ...]:
        """Identities of the parameters that ``weight`` or ``bias`` of a branch is made from; none where it has none."""

    @abstractmethod
    def plain(self, row: int) -> nn.Module:
        """The plain layer of a branch, of the class the site had before, with copies of its tensors.

        Raises:
            ValueError: the site was built by hand, so it had none.
        """

    @abstractmethod
    def grow_(self, branch: str, row: int, grown: dict[nn.Parameter, nn.Parameter]) -> Callable[[], None]:
        """Add a branch that starts as a copy of another; the result takes it away again.

        Args:
            grown: parameters with their larger successors, by which one of several sites stays one.
        """

    @abstractmethod
    def added_to(self, norm: nn.Module) -> dict[str, Tensor]:
        """The site's tensors that are no copies of the norm's it stands for; of a constant one value."""

    @abstractmethod
    def differs_from(self, norm: nn.Module, added: dict[str, Tensor]) -> bool:
        """Whether any tensor differs by value from copies of a norm's and what was :meth:`added_to` them."""

    def called(self, row: int) -> nn.Module:
        """The module that normalizes the samples of a branch, where hooks see them alone."""
        return self

    def example(self) -> Tensor | None:
        """Features to compare the site with its plain layers on; ``None`` where these are what it calls."""
        return None

    def multiplied(self) -> list[tuple[nn.Parameter, nn.Parameter]]:
        """Shared parameters, each with that of the branches it is multiplied with: weight decay pulls both to zero."""
        return []

    @abstractmethod
    def repeat_plain_(self, state: dict[str, Any], prefix: str, named: bool) -> None:
        """Replace entries of a plain checkpoint by those of every branch.

        Args:
            named: whether the checkpoint names branches, so that what it lacks is missing.
        """

    def _save_to_state_dict(self, destination: Any, prefix: str, keep_vars: bool) -> None:
        super()._save_to_state_dict(destination, prefix, keep_vars)
        destination[prefix + NAMES] = _encoded(self.branches)

    def _load_from_state_dict(  # pyright: ignore[reportIncompatibleMethodOverride]
        self, state_dict: dict[str, Any], prefix: str, metadata: Any, *args: Any
    ) -> None:
        saved = state_dict.pop(prefix + NAMES, None)  # of a copy that load_state_dict made for such changes
        if saved is not None and not saved.is_meta and (found := _decoded(saved)) != list(self.branches):
            has = f"has branches {found}" if found else f"names branches by an unreadable tensor {tuple(saved.shape)}"
            args[-1].append(
                f"{prefix[:-1]}: the checkpoint {has}, the model {list(self.branches)}. "
                f"Their names and order must agree. Convert the model with the checkpoint's branches."
            )
            return
        self.repeat_plain_(state_dict, prefix, saved is not None)
        super()._load_from_state_dict(state_dict, prefix, metadata, *args)


def _encoded(branches: Sequence[str]) -> Tensor:
    """Names as a tensor of bytes, which every writer of checkpoints keeps; not a buffer, which averages of weights would blur."""
    return torch.tensor(list(json.dumps(branches).encode()), dtype=torch.uint8, device="cpu")


def _decoded(names: Tensor) -> list[str]:
    """The names again; none of a tensor that holds something else."""
    try:
        return list(json.loads(bytes(names.to(torch.uint8).flatten().tolist())))
    except (ValueError, TypeError):
        return []


def sites_of(model: nn.Module) -> Iterator[tuple[str, Site]]:
    """The sites of a model by name, each once."""
    return ((name, module) for name, module in model.named_modules() if isinstance(module, Site))


def running(norm: nn.Module) -> Running | None:
    """Running statistics of a plain norm, ``None`` where it has not both."""
    mean, var = norm._buffers.get("running_mean"), norm._buffers.get("running_var")
    return None if mean is None or var is None else Running(mean, var, norm._buffers.get("num_batches_tracked"))


def carry_state(old: nn.Module, new: nn.Module) -> None:
    """Carry mode and hooks over: hooks as the same dicts, so that a handle taken before still removes its hook."""
    new.training = old.training
    new._is_full_backward_hook = old._is_full_backward_hook
    for key in HOOKS:
        new.__dict__[key] = old.__dict__[key]
    hooks: Any = new._load_state_dict_pre_hooks
    for hook in hooks.values():
        if hook.with_module:
            hook.module = weakref.ref(new)


def same_values(now: Tensor, before: Tensor) -> bool:
    """Whether tensors are equal, NaN to NaN; a single value is compared with all."""
    if now.is_meta or before.is_meta:
        return now.is_meta and before.is_meta
    if before.numel() not in (1, now.numel()):
        return False
    before = before.to(now)
    return bool(((now == before) | (now.isnan() & before.isnan())).all())
