"""Sites whose branches are rows of flat tensors."""

from __future__ import annotations

import copy
from abc import abstractmethod
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch
from torch import Generator, Tensor, nn

from renorm.layers.rows import Rows, extended, repeated, row_of, tensors_of
from renorm.layers.settings import Sync, check_share, names_of
from renorm.layers.site import Affine, Running, Site, carry_state, running, same_values
from renorm.layers.statistics import STATISTICS
from renorm.routing import Route, shown


class FlatSite(Site):
    """A site that normalizes by the batch or by running statistics, with a row of flat tensors for each branch.

    Its tensors are ``(K*C,)``, branch-major, and ``(C,)`` where branches share them.
    """

    num_features: int

    weight: nn.Parameter | None
    bias: nn.Parameter | None
    running_mean: Tensor | None
    running_var: Tensor | None
    num_batches_tracked: Tensor | None

    def __init__(
        self,
        num_features: int,
        branches: Sequence[str] | int,
        eps: float = 1e-5,
        momentum: float | None = 0.1,
        affine: bool = True,
        track_running_stats: bool = True,
        *,
        share: str | Iterable[str] = (),
        sync: Sync = None,
        route: Route | None = None,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        self.num_features, self.eps, self.momentum = num_features, eps, momentum
        self.affine, self.track_running_stats = affine, track_running_stats
        self.share, self.sync = check_share(share), sync
        self.route = Route(names_of(branches)) if route is None else route
        self._check_unknown()
        self.name = ""
        self.template: nn.Module | None = None  # the plain norm without its tensors, which folding fills
        made: Any = {"device": device, "dtype": dtype}
        rows = (len(self.branches) if self.branched("weight") else 1) * num_features
        populations = self.num_populations * num_features
        self.register_parameter("weight", nn.Parameter(torch.ones(rows, **made)) if affine else None)
        self.register_parameter("bias", nn.Parameter(torch.zeros(rows, **made)) if affine else None)
        tracked = torch.zeros(self.num_populations, dtype=torch.int64, device=device)
        self.register_buffer("running_mean", torch.zeros(populations, **made) if track_running_stats else None)
        self.register_buffer("running_var", torch.ones(populations, **made) if track_running_stats else None)
        self.register_buffer("num_batches_tracked", tracked if track_running_stats else None)

    @property
    @abstractmethod
    def takes_unknown(self) -> bool:
        """Whether samples of no branch can be normalized."""

    @abstractmethod
    def branched(self, key: str) -> bool:
        """Whether a tensor has a row per branch; others have one, which is shared."""

    @abstractmethod
    def affines(self, rows: Rows) -> Affine:
        """Scales and biases of some branches, ``(R, C)``; one row where they are shared."""

    @abstractmethod
    def initialize_(self, init: str, generator: Generator | None = None) -> None:
        """Set all affines to the identity, or as published: scales drawn from N(1, 0.02), biases 0."""

    @property
    def num_rows(self) -> int:
        """How many affines there are: one per branch, or one if shared."""
        return 1 if "affine" in self.share else len(self.branches)

    @property
    def num_populations(self) -> int:
        return 1 if "statistics" in self.share else len(self.branches)

    def table(self, flat: Tensor | None) -> Tensor | None:
        return None if flat is None else flat.view(-1, self.num_features)

    def pick(self, flat: Tensor | None, rows: Rows) -> Tensor | None:
        """Rows of a table, of its only row if it is shared."""
        if flat is None or flat.numel() == self.num_features or _all(rows, self.branches):
            return self.table(flat)
        return flat.view(-1, self.num_features)[rows]

    def _check_unknown(self) -> None:
        if self.route.unknown and not self.takes_unknown:
            raise ValueError(
                f"a route with samples of no branch was given to a {type(self).__name__} with share={self.share}. It has no "
                f"statistics or affine for them. Use a sandwich with share='statistics', or a route that refuses them."
            )

    def statistics(self, row: int) -> Running | None:
        found = running(self)
        if found is None:
            return None
        mean, var, count = (None if t is None else row_of(t, self.num_populations, row) for t in found)
        assert mean is not None
        assert var is not None
        return Running(mean, var, None if count is None else count.squeeze(0))

    def affine_of(self, row: int) -> Affine:
        some = self.weight if self.weight is not None else self.bias
        rows = slice(row, row + 1) if row >= 0 or some is None else torch.tensor([row], device=some.device)
        weight, bias = (None if t is None else t.detach().view(-1) for t in self.affines(rows))
        return weight, bias

    def example(self) -> Tensor | None:
        some = next((t for t in (self.running_mean, self.weight) if t is not None), torch.zeros(()))
        if some.is_meta:
            return None
        rank = 1 if isinstance(self.template, nn.BatchNorm1d) else 3 if isinstance(self.template, nn.BatchNorm3d) else 2
        shape = (2, self.num_features, *(3,) * rank)
        return torch.randn(shape, generator=torch.Generator().manual_seed(0)).to(some)

    def plain(self, row: int) -> nn.Module:
        if self.template is None:
            raise ValueError(
                f"site {self.name!r} was built by hand. Folding needs the class of the plain layer. "
                f"Build the model with plain norms and convert it by renorm.split_."
            )
        norm, now = copy.copy(self.template), self.statistics(row)
        for key, value in zip(("weight", "bias"), self.affine_of(row), strict=True):
            own = self._parameters[key]
            if own is not None and value is not None:
                norm._parameters[key] = nn.Parameter(value.clone(), requires_grad=own.requires_grad)
        for key, value in zip(STATISTICS, now or (), strict=False):
            if value is not None:
                norm._buffers[key] = value.clone()
        norm._modules.update(self._modules)
        carry_state(self, norm)
        return norm

    def grow_(self, branch: str, row: int, grown: dict[nn.Parameter, nn.Parameter]) -> Callable[[], None]:
        former: list[tuple[dict[str, Any], str, Tensor]] = []
        for tensors in (self._parameters, self._buffers):
            for key, old in tensors.items():
                if old is None or not self.branched(key):
                    continue
                new: Any = extended(old.detach(), len(self.branches), row, identity=float(key == "branch_weight"))
                if isinstance(old, nn.Parameter):
                    new = grown.setdefault(old, nn.Parameter(new, requires_grad=old.requires_grad))
                tensors[key] = new
                former.append((tensors, key, old))

        @torch.no_grad()
        def undo() -> None:
            for tensors, key, old in former:
                old.copy_(tensors[key][: old.numel()])
                tensors[key] = old

        return undo

    def added_to(self, norm: nn.Module) -> dict[str, Tensor]:
        given = self._copied(norm)
        own = {k: t.detach() for k, t in tensors_of(self).items() if k not in given or not same_values(t, given[k])}
        return {key: t[:1].clone() if same_values(t, t[:1]) else t.clone() for key, t in own.items()}

    def differs_from(self, norm: nn.Module, added: dict[str, Tensor]) -> bool:
        made = {**self._copied(norm), **added}
        return any(not same_values(t, made[key]) for key, t in tensors_of(self).items())

    def _copied(self, norm: nn.Module) -> dict[str, Tensor]:
        """A norm's tensors, repeated as often as the site has rows."""
        own = tensors_of(self)
        return {key: repeated(t, own[key].numel()) for key, t in tensors_of(norm).items() if key in own}

    def reset_running_stats(self) -> None:
        """Mean 0, variance 1, count 0 for every branch."""
        if self.running_mean is not None and self.running_var is not None and self.num_batches_tracked is not None:
            self.running_mean.zero_()
            self.running_var.fill_(1)
            self.num_batches_tracked.zero_()

    def extra_repr(self) -> str:
        shared = f", share={self.share}" if self.share else ""
        return f"{self.num_features}, branches={shown(self.branches)}, eps={self.eps}, momentum={self.momentum}{shared}"

    def repeat_plain_(self, state: dict[str, Any], prefix: str, named: bool) -> None:
        for key, own in tensors_of(self).items():
            given = state.get(prefix + key)
            if key == "num_batches_tracked" and given is None:  # older than the counter
                state[prefix + key] = torch.zeros_like(own)
            elif given is not None and given.numel() * (own.numel() // self._unit(key)) == own.numel():
                state[prefix + key] = given.reshape(-1).repeat(own.numel() // given.numel())

    def _unit(self, key: str) -> int:
        return 1 if key == "num_batches_tracked" else self.num_features


def _all(rows: Rows, branches: Sequence[str]) -> bool:
    return isinstance(rows, slice) and rows == slice(0, len(branches))
