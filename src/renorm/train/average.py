"""The exponential moving average of a training's weights."""

import copy

import torch
from torch import nn
from torch.optim.swa_utils import get_ema_multi_avg_fn

WARMUP = 10  # steps: while there are few, older weights count less


class Average:
    r"""A copy of a model whose parameters follow the model's.

    .. math:: \bar w \leftarrow d_t \bar w + (1 - d_t) w, \qquad d_t = \min\left(d, \tfrac{1 + t}{10 + t}\right)

    Running statistics are not averaged: those of other weights do not fit its features. They are stale until
    they are measured again, by who knows what they describe.

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
