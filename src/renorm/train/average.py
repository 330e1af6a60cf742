"""The exponential moving average of a training's weights, with statistics that fit them."""

import copy
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import torch
import torch.distributed as dist
from torch import nn
from torch.optim.swa_utils import get_ema_multi_avg_fn

from renorm.banks import recalibrate_, resolve, tracked

WARMUP = 10  # steps: while there are few, older weights count less


class Average:
    r"""A copy of a model whose parameters follow the model's.

    .. math:: \bar w \leftarrow d_t \bar w + (1 - d_t) w, \qquad d_t = \min\left(d, \tfrac{1 + t}{10 + t}\right)

    Running statistics are not averaged: those of other weights do not fit its features. They are stale until
    :func:`remeasure_` has measured them.

    Args:
        model: What trains.
        decay: d, between 0 and 1.
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        self.model = copy.deepcopy(model).requires_grad_(False).eval()
        self.decay, self.updates = decay, 0

    def update(self, model: nn.Module) -> None:
        """Take in the model's parameters after a step."""
        decay = min(self.decay, (1 + self.updates) / (WARMUP + self.updates))
        get_ema_multi_avg_fn(decay)(list(self.model.parameters()), list(model.parameters()), self.updates)
        self.updates += 1

    @torch.no_grad()
    def copy_buffers(self, model: nn.Module) -> None:
        """Take over counters and whatever else is neither a parameter nor measured."""
        for own, other in zip(self.model.buffers(), model.buffers(), strict=True):
            own.copy_(other)


def remeasure_(
    model: nn.Module,
    described: Mapping[str | None, Sequence[str]],
    batches: Callable[[Sequence[str]], Iterable[Any]],
    forward: Callable[[nn.Module, Any], Any],
    group: dist.ProcessGroup | None = None,
) -> None:
    """Measure running statistics again, where there are any, pooled exactly over batches and processes.

    Args:
        model: Its weights have changed, or are averages.
        described: Branches (``None`` for a plain model), each with the views that its statistics describe together.
        batches: Gives batches of some views.
        forward: Calls the model on a batch.
        group: Processes to pool over.
    """
    for branch, names in described.items():
        if tracked(model, resolve(model, branch)):
            recalibrate_(model, batches(names), branch, group=group, forward=forward)
