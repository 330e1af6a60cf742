"""Sites that normalize by the batch or by running statistics."""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from renorm import functional
from renorm.functional import Moments, passes
from renorm.layers.flat import FlatSite
from renorm.layers.rows import Rows
from renorm.routing import Labels, Selection


class NormalizingSite(FlatSite):
    """A flat site that normalizes each branch by its samples in training, by its running statistics in evaluation."""

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
            tables = (self.pick(self.running_mean, rows), self.pick(self.running_var, rows), *self.affines(rows))
            mean, var, weight, bias = (_beside(t, count) for t in tables)
            assert mean is not None
            assert var is not None
            return functional.native_fixed_norm(_side_by_side(x, count), mean, var, weight, bias, self.eps).view_as(x)
        mean, var = self.table(self.running_mean), self.table(self.running_var)
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

    def _merge(self) -> Any:
        """The merge over ranks, where there are any."""
        if self.sync is None or not (self.training and dist.is_available() and dist.is_initialized()):
            return None
        group = None if isinstance(self.sync, str) else self.sync
        return partial(functional.all_merge, group=group) if dist.get_world_size(group) > 1 else None

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


def _beside(table: Tensor | None, count: int) -> Tensor | None:
    """``count`` rows side by side, a shared one repeated."""
    return None if table is None else table.expand(count, -1).reshape(-1)


def _side_by_side(x: Tensor, count: int) -> Tensor:
    """An interleaved batch with its branches side by side as channels, ``(N/K, K*C, *)``, without a copy."""
    return x if count == 1 else x.view(x.shape[0] // count, count * x.shape[1], *x.shape[2:])
