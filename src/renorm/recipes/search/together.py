"""A supernet on several processes, each of which sees a part of every batch, as it would be on one."""

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor, nn

from renorm.functional import Moments, all_merge, branch_norm, unbiased
from renorm.layers import SandwichBatchNorm, SplitBatchNorm


class TogetherNorm(nn.BatchNorm2d):
    """Batch normalization by the moments of all processes in training; its tensors and their names are the plain layer's."""

    def forward(self, input: Tensor) -> Tensor:
        if not self.training:
            return super().forward(input)
        affine = (None if t is None else t[None] for t in (self.weight, self.bias))
        y, batch = branch_norm(input, *affine, eps=self.eps, merge_ranks=partial(all_merge, group=None))
        self._update(batch)
        return y

    @torch.no_grad()
    def _update(self, batch: Moments) -> None:
        if self.running_mean is None or self.running_var is None or self.num_batches_tracked is None:
            return
        assert self.momentum is not None
        self.num_batches_tracked += 1
        self.running_mean.lerp_(batch.mean[0].to(self.running_mean), self.momentum)
        self.running_var.lerp_(unbiased(batch)[0].to(self.running_var), self.momentum)


def together_(net: nn.Module) -> None:
    """Let every norm use the moments of all processes: those with conditions, and plain ones, whose class changes."""
    for module in net.modules():
        if isinstance(module, SplitBatchNorm | SandwichBatchNorm):
            module.sync = "world"
        elif type(module) is nn.BatchNorm2d:
            module.__class__ = TogetherNorm
