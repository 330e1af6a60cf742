"""A model that takes pixels."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn


class Normalized(nn.Module):
    r"""A model behind its input normalization, :math:`f((x - \mu) / \sigma)`, so that it takes images in [0, 1].

    Shape: ``(N, C, H, W)``, and what the model gives.

    Args:
        model: takes normalized images.
        mean: of each channel, in 0 to 1.
        std: likewise.

    Example:
        >>> Normalized(torch.nn.Identity(), [0.5], [0.25])(torch.ones(1, 1, 1, 1)).item()
        2.0
    """

    mean: Tensor
    std: Tensor

    def __init__(self, model: nn.Module, mean: Sequence[float], std: Sequence[float]) -> None:
        super().__init__()
        self.model = model
        some = next(model.parameters(), torch.zeros(()))
        for name, values in (("mean", mean), ("std", std)):
            tensor = torch.tensor(list(values), dtype=some.dtype, device=some.device).view(-1, 1, 1)
            self.register_buffer(name, tensor, persistent=False)  # the weights stay those of the model

    def forward(self, x: Tensor) -> Tensor:
        """The model's output on images in [0, 1]."""
        return self.model((x - self.mean) / self.std)
