"""AugMix: a mixture of chains of operations."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from renorm.data.magnitudes import Operation, check_number, mild_magnitudes, pick
from renorm.data.operations import apply, pillow

AUGMIX_LEVELS = 10


@dataclass(frozen=True)
class AugMix:
    r"""The image mixed with a mixture of chains of operations.

    With :math:`w \sim` Dirichlet(1, ..., 1) and :math:`m \sim` Beta(1, 1), the result is
    :math:`m x + (1 - m) \sum_i w_i \, \mathrm{chain}_i(x)`. The operations are those that are no corruption of the
    common benchmark. The consistency loss of the paper is no part of a view.

    Args:
        severity: highest level of an operation, 1 to 10.
        width: number of chains.
        depth: operations of each chain; None draws 1 to 3.

    Raises:
        ValueError: a number is out of range.

    Reference: Hendrycks et al., *AugMix: A Simple Data Processing Method to Improve Robustness and Uncertainty*, ICLR
    2020.
    """

    severity: int = 3
    width: int = 3
    depth: int | None = None

    def __post_init__(self) -> None:
        check_number("augmix", "magnitude", self.severity, 1, AUGMIX_LEVELS)
        check_number("augmix", "width", self.width, 1, None)
        if self.depth is not None:
            check_number("augmix", "num_ops", self.depth, 1, None)

    def sample(self, width: int, height: int) -> tuple[list[float], list[list[Operation]]]:
        """Draw weights, the first of the image itself, and chains."""
        share, *draws = torch.rand(1 + 2 * self.width).tolist()
        exponentials = [-math.log1p(-draw) for draw in draws[: self.width]]
        weights = [(1 - share) * each / max(sum(exponentials), 1e-30) for each in exponentials]
        depths = [self.depth or 1 + int(3 * draw) for draw in draws[self.width :]]
        return [share, *weights], [self._chain(depth, width, height) for depth in depths]

    def _chain(self, depth: int, width: int, height: int) -> list[Operation]:
        steps = []
        for level, draw in torch.rand(depth, 2).tolist():
            space = mild_magnitudes((0.1 + level * (self.severity - 0.1)) / AUGMIX_LEVELS, width, height)
            steps.append(pick(space, int(draw * 2 * len(space))))
        return steps

    def __call__(self, picture: Any) -> Any:
        """Change a Pillow image."""
        weights, chains = self.sample(*picture.size)
        mixture = weights[0] * np.asarray(picture, np.float32)
        for weight, chain in zip(weights[1:], chains, strict=True):
            changed = picture
            for name, magnitude in chain:
                changed = apply(changed, name, magnitude, smooth=True)
            mixture += weight * np.asarray(changed, np.float32)
        return pillow().fromarray(mixture.round().clip(0, 255).astype(np.uint8))
