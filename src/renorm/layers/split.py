"""Split batch normalization: one set of statistics and affine parameters per branch."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from functools import partial
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

from renorm import functional
from renorm.functional import Moments, passes
from renorm.layers.copies import check_branches
from renorm.routing import Labels, Route, Selection, shown

SHARABLE = ("statistics", "affine")
Rows = slice | Tensor
Sync = dist.ProcessGroup | str | None


class SplitBatchNorm(nn.Module):
    r"""Batch normalization with one *branch* per population of inputs.

    .. math:: y_n = \gamma_{k(n)} \frac{x_n - \mu_{k(n)}}{\sqrt{\sigma^2_{k(n)} + \epsilon}} + \beta_{k(n)}

    where :math:`k(n)` is the branch of sample n, chosen by :func:`renorm.route`. In training the moments are those of the
    branch's samples in the batch (biased variance), and its running statistics move (unbiased variance); in evaluation they
    are its running statistics.

    Parameters and buffers are flat and branch-major, ``(K*C,)``, under PyTorch's names, so that a plain checkpoint loads
    strictly (each branch gets a copy) and rules for 1-d parameters keep working; ``num_batches_tracked`` is ``(K,)``.
    What is shared has one row, ``(C,)``.

    An absent branch gets zero gradients, so momentum and weight decay still move its affine.

    A layer of a network of your own can be given the branch of each sample in place of a route: ``norm(x, labels)``, ``(N,)``
    int64, which are checked once per tensor, in eager code; or that of the whole batch, ``norm(x, "weak")`` or ``norm(x, 0)``.

    Shape: ``(N, C, *)`` to the same, in the same dtype and memory format.

    Reduces to: ``nn.BatchNorm{1,2,3}d`` for one branch, and per branch under ``route(model, branch)``.

    Args:
        num_features: C.
        branches: their names.
        eps, momentum, affine, track_running_stats: as in PyTorch; ``momentum=None`` is the average over the batches of a branch.
        share: what branches have in common, of ``"statistics"`` and ``"affine"``.
        sync: pool the moments of a training batch over ranks: a process group, or ``"world"``; ``None`` is local.
        route: the route to share with other sites; a new one by default.

    Raises:
        ValueError: wrong shape, a batch that the route does not divide, one value per channel in training.
        RuntimeError: training without a route.

    Reference: Merchant, Zoph & Cubuk, *Does data augmentation benefit from split BatchNorms*, 2020;
    Xie et al., *Adversarial examples improve image recognition*, 2020.

    Example:
        >>> norm = renorm.layers.SplitBatchNorm(4, ["weak", "strong"])
        >>> with renorm.route(norm, {"weak": 6, "strong": 2}):
        ...     y = norm(torch.randn(8, 4, 5, 5))
        >>> norm.num_batches_tracked
        tensor([1, 1])
    """

    weight: nn.Parameter | None
    bias: nn.Parameter | None
    running_mean: Tensor | None
    running_var: Tensor | None
    num_batches_tracked: Tensor | None

    def __init__(
        self,
        num_features: int,
        branches: Sequence[str],
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
        self.route = Route(branches) if route is None else route
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
    def branches(self) -> tuple[str, ...]:
        """Names of the branches, in order."""
        return self.route.branches

    def branched(self, key: str) -> bool:
        """Whether a tensor has a row per branch; others have one, which is shared."""
        return ("affine" if key in ("weight", "bias") else "statistics") not in self.share

    @property
    def takes_unknown(self) -> bool:
        """Whether samples of no branch can be normalized."""
        return False

    @property
    def num_rows(self) -> int:
        """How many affines there are: one per branch, or one if shared."""
        return 1 if "affine" in self.share else len(self.branches)

    @property
    def num_populations(self) -> int:
        """How many sets of statistics there are: one per branch, or one if shared."""
        return 1 if "statistics" in self.share else len(self.branches)

    def affine_of(self, rows: Rows) -> tuple[Tensor | None, Tensor | None]:
        """Scales and biases of some branches, ``(R, C)``; one row where they are shared."""
        return self._pick(self.weight, rows), self._pick(self.bias, rows)

    def forward(self, x: Tensor, labels: Labels | None = None) -> Tensor:
        self._check(x)
        if labels is None:
            visit = self.route.visit(x.shape[0], self.training, self.name)
        else:
            visit = self.route.told(labels, x.shape[0], self.name)
        if not self.training and self.running_mean is not None:
            y = self._by_running(x, visit.selection, visit.repeats)
        else:
            y, batch, rows = self._by_batch(x, visit.selection, visit.repeats)
            if self.training and not (visit.recomputed or self.route.frozen):
                self._update(batch, rows)
        return self._after(y)

    def _after(self, y: Tensor) -> Tensor:
        """What a fused norm does next, in its order, which may not be the one its children were registered in."""
        for name in ("drop", "act"):
            child = self._modules.get(name)
            y = y if child is None else child(y)
        return y

    def _by_batch(self, x: Tensor, selection: Selection, repeats: int) -> tuple[Tensor, Moments, Rows]:
        """Normalize by the batch; also the populations' moments and the rows of the buffers they belong to."""
        self._check_sizes(x, selection, repeats)
        group = self._group()
        if selection.kind == "whole":
            return self._by_batch_whole(x, selection, group)
        if self.num_populations > 1 and group is None and repeats == 1:
            if selection.kind == "interleaved" and x.is_contiguous() and not passes.faster(x):
                return self._by_batch_interleaved(x, selection)
            if selection.kind == "blocks" and not (torch.compiler.is_compiling() or passes.faster(x)):
                rows = selection.take
                weight, bias = self.affine_of(rows)
                return *functional.block_norm(x, weight, bias, selection.sizes(len(x)) or (), self.eps), rows
        index = selection.of_samples(x.shape[0] // repeats, repeats, x.device)
        y, batch = functional.branch_norm(
            x,
            *self.affine_of(index),
            population=index if self.num_populations > 1 else None,
            num_populations=self.num_populations,
            eps=self.eps,
            merge_ranks=group,
        )
        return y, batch, slice(None)

    def _by_batch_whole(self, x: Tensor, selection: Selection, group: Any) -> tuple[Tensor, Moments, Rows]:
        rows = selection.take
        weight, bias = self.affine_of(rows)
        rows = rows if self.num_populations > 1 else slice(None)
        if group is not None or passes.faster(x):
            return *functional.branch_norm(x, weight, bias, eps=self.eps, merge_ranks=group), rows
        return *functional.native_norm(x, _flat(weight), _flat(bias), self.eps), rows

    def _by_batch_interleaved(self, x: Tensor, selection: Selection) -> tuple[Tensor, Moments, Rows]:
        rows, count = selection.take, selection.num_branches
        weight, bias = (_beside(t, count) for t in self.affine_of(rows))
        y, batch = functional.native_norm(_side_by_side(x, count), weight, bias, self.eps)
        return y.view(x.shape), batch, rows

    def _by_running(self, x: Tensor, selection: Selection, repeats: int) -> Tensor:
        """Normalize by the running statistics of each sample's branch."""
        kind, count = selection.kind, selection.num_branches
        if kind == "whole" or (kind == "interleaved" and repeats == 1 and x.is_contiguous()):
            rows = selection.take
            tables = (self._pick(self.running_mean, rows), self._pick(self.running_var, rows), *self.affine_of(rows))
            mean, var, weight, bias = (_beside(t, count) for t in tables)
            assert mean is not None
            assert var is not None
            return functional.native_fixed_norm(_side_by_side(x, count), mean, var, weight, bias, self.eps).view_as(x)
        mean, var = self._table(self.running_mean), self._table(self.running_var)
        assert mean is not None
        assert var is not None
        index = selection.of_samples(x.shape[0] // repeats, repeats, x.device)
        population = index if self.num_populations > 1 else None
        return functional.fixed_norm(x, mean, var, *self.affine_of(index), population=population, eps=self.eps)

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

    def _group(self) -> Any:
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

    def _check_sizes(self, x: Tensor, selection: Selection, repeats: int) -> None:
        """One value per channel cannot be normalized, as in PyTorch; not checked for labels, whose counts are on the device."""
        if (
            not self.training
            or torch.compiler.is_compiling()
            or selection.kind == "labels"
            or self._group() is not None
        ):
            return
        positions = math.prod(x.shape[2:])
        if self.num_populations == 1 or selection.kind == "whole":
            values = [len(x) * positions]
        elif selection.kind == "interleaved":
            values = [len(x) // selection.num_branches * positions]
        else:
            values = [n * positions for n in selection.sizes(len(x)) or ()]
        if 1 in values:
            raise ValueError(
                f"site {self.name!r} got 1 value per channel for a branch, input {tuple(x.shape)}. "
                f"Training needs more than one. Use larger batches, or drop_last=True in the DataLoader."
            )

    def reset_running_stats(self) -> None:
        """Mean 0, variance 1, count 0 for every branch."""
        if self.running_mean is not None and self.running_var is not None and self.num_batches_tracked is not None:
            self.running_mean.zero_()
            self.running_var.fill_(1)
            self.num_batches_tracked.zero_()

    def extra_repr(self) -> str:
        shared = f", share={self.share}" if self.share else ""
        return f"{self.num_features}, branches={shown(self.branches)}, eps={self.eps}, momentum={self.momentum}{shared}"

    def _save_to_state_dict(self, destination: Any, prefix: str, keep_vars: bool) -> None:
        super()._save_to_state_dict(destination, prefix, keep_vars)
        metadata = getattr(destination, "_metadata", None)
        if metadata is not None:
            metadata.setdefault(prefix[:-1], {})["branches"] = list(self.branches)

    def _load_from_state_dict(  # pyright: ignore[reportIncompatibleMethodOverride]
        self, state_dict: dict[str, Any], prefix: str, metadata: Any, *args: Any
    ) -> None:
        if check_branches(prefix[:-1], metadata, self.branches, args[-1]):
            repeated = self._repeated(state_dict, prefix, plain="branches" not in metadata)
            super()._load_from_state_dict({**state_dict, **repeated}, prefix, metadata, *args)

    def _repeated(self, state_dict: dict[str, Any], prefix: str, plain: bool) -> dict[str, Tensor]:
        """Entries of a plain checkpoint, one copy per branch; a checkpoint older than the counter starts it at 0."""
        made = {}
        for key, own in (*self._parameters.items(), *self._buffers.items()):
            given = state_dict.get(prefix + key)
            if own is not None and key == "num_batches_tracked" and given is None:
                made[prefix + key] = torch.zeros_like(own)
            elif (
                own is not None
                and given is not None
                and given.numel() * (own.numel() // self._unit(key)) == own.numel()
            ):
                made[prefix + key] = given.reshape(-1).repeat(own.numel() // given.numel())
        return made

    def _unit(self, key: str) -> int:
        return 1 if key == "num_batches_tracked" else self.num_features


def check_share(share: str | Iterable[str]) -> tuple[str, ...]:
    """What branches share, as a tuple in a fixed order."""
    given = (share,) if isinstance(share, str) else tuple(share)
    if set(given) - set(SHARABLE):
        raise ValueError(
            f"share={share!r} was given. Branches can share {list(SHARABLE)}. Use one of them, both or neither."
        )
    return tuple(name for name in SHARABLE if name in given)


def _flat(row: Tensor | None) -> Tensor | None:
    return None if row is None else row.reshape(-1)


def _beside(table: Tensor | None, count: int) -> Tensor | None:
    """``count`` rows side by side, a shared one repeated."""
    return None if table is None else table.expand(count, -1).reshape(-1)


def _side_by_side(x: Tensor, count: int) -> Tensor:
    """An interleaved batch with its branches side by side as channels, ``(N/K, K*C, *)``, without a copy."""
    return x if count == 1 else x.view(x.shape[0] // count, count * x.shape[1], *x.shape[2:])


def _all(rows: Rows, branches: Sequence[str]) -> bool:
    return isinstance(rows, slice) and rows == slice(0, len(branches))
