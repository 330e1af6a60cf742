"""A model with how its input is normalized, its branches, and what its outputs stand for."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from renorm.data import Images, in_order, tell_order
from renorm.surgery import fold


@dataclass(frozen=True)
class Classifier:
    """A model and what its input is normalized by, in units of 0 to 1.

    Args:
        model: With branches or without.
        mean: Of its input.
        std: Of its input.
        branches: Its branches; none for a plain model.
        classes: Names of its outputs, if known.
        size: Side of the images it was trained on, if known.
    """

    model: nn.Module
    mean: Sequence[float]
    std: Sequence[float]
    branches: tuple[str, ...] = ()
    classes: tuple[str, ...] = ()
    size: int | None = None

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

    def in_order(self, images: Images) -> Images:
        """Images with labels that count the model's outputs; see :func:`renorm.data.classes.in_order`."""
        tell_order(images, self.classes)
        return in_order(images, self.classes)

    def folded(self, branch: str | None) -> nn.Module:
        """The plain model of a branch, proved equal to it on random input."""
        if branch is None:
            return self.model
        size = self.size or 32
        probe = torch.rand(4, 3, size, size, generator=torch.Generator().manual_seed(0)).to(self.device)
        return fold(self.model, branch, probe=probe)
