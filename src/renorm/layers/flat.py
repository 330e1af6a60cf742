"""Sites whose branches are rows of flat tensors."""

from __future__ import annotations

import copy
from abc import abstractmethod
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Any

import torch
import torch.distributed as dist
from torch import Generator, Tensor, nn

from renorm import functional
from renorm.functional import Moments, passes
from renorm.layers.site import Affine, Running, Site, carry_state, running, same_values
from renorm.layers.statistics import STATISTICS
from renorm.routing import UNKNOWN, Labels, Route, Selection, shown

SHARABLE = ("statistics", "affine")
SPREAD = 0.02  # standard deviation of the published initial scales
Rows = slice | Tensor
Sync = dist.ProcessGroup | str | None


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
        """How many sets of statistics there are: one per branch, or one if shared."""
        return 1 if "statistics" in self.share else len(self.branches)

    def forward(self, x: Tensor, labels: Labels | None = None) -> Tensor:
        self._check(x)
        if labels is None:
            visit = self.route.visit(x.shape[0], self.training, self.name)
        else:
            visit = self.route.told(labels, x.shape[0], self.name)
        if not self.training and self.running_mean is not None:
            y = self._by_running(x, visit.selection)
        else:
            y, batch, rows = self._by_batch(x, visit.selection)
            if self.training and not (visit.recomputed or self.route.frozen):
                self._update(batch, rows)
        return self._after(y)

    def _after(self, y: Tensor) -> Tensor:
        """What a fused norm does next, in its order, which may not be the one its children were registered in."""
        for name in ("drop", "act"):
            child = self._modules.get(name)
            y = y if child is None else child(y)
        return y

    def _by_batch(self, x: Tensor, selection: Selection) -> tuple[Tensor, Moments, Rows]:
        """Normalize by the batch; also the populations' moments and the rows of the buffers they belong to."""
        merge, whole, own = self._merge(), selection.beside == 1, self.num_populations > 1
        if merge is None:
            self._check_sizes(x, selection)
        if merge is None and not passes.faster(x):
            if whole or (own and selection.beside and x.is_contiguous()):
                y, batch = self._by_batch_beside(x, selection)
                return y, batch, selection.take if own else slice(None)
            if own and not selection.beside and selection.slices(len(x)) is not None:
                rows, sizes = selection.take, selection.sizes(len(x)) or ()
                return *functional.block_norm(x, *self.affines(rows), sizes, self.eps), rows
        index = None if whole else selection.index(len(x), x.device)
        rows = selection.take if index is None else index
        y, batch = functional.branch_norm(
            x,
            *self.affines(rows),
            population=index if own else None,
            num_populations=1 if whole else self.num_populations,
            eps=self.eps,
            merge_ranks=merge,
        )
        return y, batch, rows if own and whole else slice(None)

    def _by_batch_beside(self, x: Tensor, selection: Selection) -> tuple[Tensor, Moments]:
        count = selection.beside
        weight, bias = (_beside(t, count) for t in self.affines(selection.take))
        y, batch = functional.native_norm(_side_by_side(x, count), weight, bias, self.eps)
        return y if count == 1 else y.view(x.shape), batch

    def _by_running(self, x: Tensor, selection: Selection) -> Tensor:
        """Normalize by the running statistics of each sample's branch."""
        count = selection.beside
        if count == 1 or (count and x.is_contiguous()):
            rows = selection.take
            tables = (self._pick(self.running_mean, rows), self._pick(self.running_var, rows), *self.affines(rows))
            mean, var, weight, bias = (_beside(t, count) for t in tables)
            assert mean is not None
            assert var is not None
            return functional.native_fixed_norm(_side_by_side(x, count), mean, var, weight, bias, self.eps).view_as(x)
        mean, var = self._table(self.running_mean), self._table(self.running_var)
        assert mean is not None
        assert var is not None
        index = selection.index(len(x), x.device)
        population = index if self.num_populations > 1 else None
        return functional.fixed_norm(x, mean, var, *self.affines(index), population=population, eps=self.eps)

    @torch.no_grad()
    def _update(self, batch: Moments, rows: Rows) -> None:
        """Move the running statistics of the branches that had samples."""
        if not self.track_running_stats or self.running_mean is None or self.running_var is None:
            return
        assert self.num_batches_tracked is not None
        means, variances = self.running_mean.view(-1, self.num_features), self.running_var.view(-1, self.num_features)
        mean, var, seen = means[rows], variances[rows], self.num_batches_tracked[rows]
        batch = Moments(batch.mean.view_as(mean), batch.var.view_as(var), batch.count)
        if isinstance(rows, slice) and not isinstance(batch.count, Tensor) and batch.count > 1:
            seen += 1  # all branches have samples and the rows are views: a few operations in place
            factor = self.momentum if self.momentum is not None else (1 / seen.unsqueeze(1)).to(mean.dtype)
            mean.lerp_(batch.mean.to(mean.dtype), factor)
            var.lerp_(functional.unbiased(batch).to(var.dtype), factor)
            return
        count = batch.count if isinstance(batch.count, Tensor) else torch.full((1, 1), batch.count, device=mean.device)
        seen = seen + (count > 0).view(-1)
        factor = 1 / seen.clamp(min=1).unsqueeze(1) if self.momentum is None else self.momentum
        new_mean = mean + factor * (batch.mean - mean)
        new_var = var + factor * (functional.unbiased(Moments(batch.mean, batch.var, count)) - var)
        self.num_batches_tracked[rows] = seen
        means[rows] = torch.where(count > 0, new_mean.to(mean.dtype), mean)
        variances[rows] = torch.where(count > 1, new_var.to(var.dtype), var)

    def _table(self, flat: Tensor | None) -> Tensor | None:
        return None if flat is None else flat.view(-1, self.num_features)

    def _pick(self, flat: Tensor | None, rows: Rows) -> Tensor | None:
        """Rows of a table, of its only row if it is shared."""
        if flat is None or flat.numel() == self.num_features or _all(rows, self.branches):
            return self._table(flat)
        return flat.view(-1, self.num_features)[rows]

    def _merge(self) -> Any:
        """The merge over ranks, where there are any."""
        if self.sync is None or not (self.training and dist.is_available() and dist.is_initialized()):
            return None
        group = None if isinstance(self.sync, str) else self.sync
        return partial(functional.all_merge, group=group) if dist.get_world_size(group) > 1 else None

    def _check_unknown(self) -> None:
        if self.route.unknown and not self.takes_unknown:
            raise ValueError(
                f"a route with samples of no branch was given to a {type(self).__name__} with share={self.share}. It has no "
                f"statistics or affine for them. Use a sandwich with share='statistics', or a route that refuses them."
            )

    def _check(self, x: Tensor) -> None:
        if x.ndim < 2 or x.shape[1] != self.num_features:
            raise ValueError(
                f"site {self.name!r} got a tensor of shape {tuple(x.shape)}. It needs (N, {self.num_features}, ...). "
                f"Check the layer before it."
            )

    def _check_sizes(self, x: Tensor, selection: Selection) -> None:
        """One value per channel cannot be normalized, as in PyTorch; not checked where only the device knows the counts."""
        if not self.training or torch.compiler.is_compiling():
            return
        sizes = selection.sizes(len(x))
        if sizes is not None and self.num_populations == 1:
            sizes = (len(x),)
        if 1 in [n * functional.positions(x) for n in sizes or ()]:
            raise ValueError(
                f"site {self.name!r} got 1 value per channel for a branch, input {tuple(x.shape)}. "
                f"Training needs more than one. Use larger batches, or drop_last=True in the DataLoader."
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
        own = {k: t.detach() for k, t in _tensors(self).items() if k not in given or not same_values(t, given[k])}
        return {key: t[:1].clone() if same_values(t, t[:1]) else t.clone() for key, t in own.items()}

    def differs_from(self, norm: nn.Module, added: dict[str, Tensor]) -> bool:
        made = {**self._copied(norm), **added}
        return any(not same_values(t, made[key]) for key, t in _tensors(self).items())

    def _copied(self, norm: nn.Module) -> dict[str, Tensor]:
        """A norm's tensors, repeated as often as the site has rows."""
        own = _tensors(self)
        return {key: repeated(t, own[key].numel()) for key, t in _tensors(norm).items() if key in own}

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
        for key, own in _tensors(self).items():
            given = state.get(prefix + key)
            if key == "num_batches_tracked" and given is None:  # older than the counter
                state[prefix + key] = torch.zeros_like(own)
            elif given is not None and given.numel() * (own.numel() // self._unit(key)) == own.numel():
                state[prefix + key] = given.reshape(-1).repeat(own.numel() // given.numel())

    def _unit(self, key: str) -> int:
        return 1 if key == "num_batches_tracked" else self.num_features


def extended(flat: Tensor, rows: int, row: int, identity: float = 0.0) -> Tensor:
    """A flat tensor with one row more, which is a copy of another; of samples of no branch, a constant."""
    table = flat.view(rows, -1)
    new = torch.full_like(table[:1], identity) if row == UNKNOWN else table[row : row + 1]
    return torch.cat([table, new]).view(-1)


def repeated(tensor: Tensor, size: int) -> Tensor:
    """A flat tensor of ``size`` made of copies."""
    with torch.no_grad():
        return tensor.detach().reshape(-1).repeat(size // max(1, tensor.numel()))


def row_of(flat: Tensor, rows: int, row: int) -> Tensor:
    """The part of a flat tensor that belongs to a branch, all of it where it is shared."""
    return flat.view(rows, -1)[row if rows > 1 else 0]


def names_of(branches: Sequence[str] | int) -> Sequence[str]:
    """Branches that were only counted, by name."""
    return [str(k) for k in range(branches)] if isinstance(branches, int) else branches


@torch.no_grad()
def fill_affine_(
    weights: Iterable[Tensor | None], biases: Iterable[Tensor | None], init: str, generator: Generator | None
) -> None:
    """Set affines to the identity, or as published: scales drawn from N(1, 0.02), biases 0."""
    if init not in ("identity", "published"):
        raise ValueError(
            f"init={init!r} was given. Affines start as the identity or as published. Use 'identity' or 'published'."
        )
    if init == "published" and generator is None:
        raise ValueError(
            "init='published' was given without a generator. Its scales are drawn at random. "
            "Pass generator=torch.Generator().manual_seed(0), or init='identity'."
        )
    for weight in weights:
        if weight is not None and generator is not None and init == "published":
            drawn = torch.randn(weight.shape, generator=generator, device=generator.device)
            weight.copy_(1 + SPREAD * drawn)
        elif weight is not None:
            weight.fill_(1)
    for bias in biases:
        if bias is not None:
            bias.zero_()


def _tensors(module: nn.Module) -> dict[str, Tensor]:
    return {key: t for key, t in (*module._parameters.items(), *module._buffers.items()) if t is not None}


def check_share(share: str | Iterable[str]) -> tuple[str, ...]:
    """What branches share, as a tuple in a fixed order."""
    given = (share,) if isinstance(share, str) else tuple(share)
    if set(given) - set(SHARABLE):
        raise ValueError(
            f"share={share!r} was given. Branches can share {list(SHARABLE)}. Use one of them, both or neither."
        )
    return tuple(name for name in SHARABLE if name in given)


def _beside(table: Tensor | None, count: int) -> Tensor | None:
    """``count`` rows side by side, a shared one repeated."""
    return None if table is None else table.expand(count, -1).reshape(-1)


def _side_by_side(x: Tensor, count: int) -> Tensor:
    """An interleaved batch with its branches side by side as channels, ``(N/K, K*C, *)``, without a copy."""
    return x if count == 1 else x.view(x.shape[0] // count, count * x.shape[1], *x.shape[2:])


def _all(rows: Rows, branches: Sequence[str]) -> bool:
    return isinstance(rows, slice) and rows == slice(0, len(branches))
