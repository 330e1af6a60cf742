"""A model and how its input is normalized."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn


@dataclass(frozen=True)
class Subject:
    """A model and what its input is normalized by, in units of 0 to 1."""

    model: nn.Module
    mean: Sequence[float]
    std: Sequence[float]

    @property
    def device(self) -> torch.device:
        """Where the model is."""
        return next(self.model.parameters()).device

    def normalize(self, x: Tensor) -> Tensor:
        """Turn pixels, uint8 or in [0, 1], into the model's input, on its device. Shape: ``(N, 3, H, W)``, kept."""
        x = x.to(self.device)
        x = x.float() / 255 if x.dtype == torch.uint8 else x
        mean, std = (torch.tensor(list(values), device=x.device).view(3, 1, 1) for values in (self.mean, self.std))
        return (x - mean) / std
