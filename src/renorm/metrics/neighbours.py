"""How well generated features lie among real ones, by balls that reach to a neighbour."""

from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor

from renorm.metrics.features import two_sets

K = 5
PAIRS = 2**22  # distances held at once
ROUNDING = 1e-12  # of the largest squared length: what squared distances may err by


class Neighbours(NamedTuple):
    """Four shares, each over its own set; density may be more than 1.

    Args:
        precision: Of generated images that lie in the ball of some real one.
        recall: Of real images that lie in the ball of some generated one.
        density: Real balls that a generated image lies in, in k: about 1 for two samples of one distribution.
        coverage: Of real images whose ball holds a generated one.
    """

    precision: float
    recall: float
    density: float
    coverage: float


def neighbours(real: Tensor, fake: Tensor, k: int = K) -> Neighbours:
    r"""Precision, recall, density and coverage of generated features among real ones.

    .. math:: B(x_i) = \{y: |y - x_i| < r_i\}

    with :math:`r_i` the distance of :math:`x_i` to its k-th neighbour in its own set, itself left out.

    Shape: ``(N, D), (M, D)``, in float64 inside. They depend on N and M: compare equal ones.

    Args:
        k: Which neighbour a ball reaches to, without holding it.

    Raises:
        ValueError: If the two differ in features, one has no k neighbours, or values that are not finite.

    Reference: Kynkäänniemi et al., *Improved Precision and Recall Metric for Assessing Generative Models*, NeurIPS 2019; Naeem et
    al., *Reliable Fidelity and Diversity Metrics for Generative Models*, ICML 2020.

    Example:
        >>> real = torch.tensor([[0.0], [1.0], [2.0], [9.0]])
        >>> neighbours(real, torch.tensor([[0.5], [20.0]]), k=1)
        Neighbours(precision=0.5, recall=1.0, density=1.0, coverage=0.5)
    """
    if k < 1:
        raise ValueError(
            f"k={k} was given. Balls reach to the first neighbour at least. Use k=1 or more; {K} is usual."
        )
    real, fake = two_sets(real, fake, fewest=k + 1)
    center = real.mean(0)
    real, fake = real - center, fake - center
    # Distances that differ from a radius by rounding alone are the radius: the ball is open.
    open_by = ROUNDING * max(x.square().sum(1).amax().item() for x in (real, fake))
    real_reach, fake_reach = (_squared_radii(x, k) - open_by for x in (real, fake))
    num_balls = torch.zeros(len(fake), dtype=torch.int64, device=fake.device)
    num_recalled = num_covered = 0
    for rows, squared in _blocks(real, fake):
        inside = squared < real_reach[rows, None]
        num_balls += inside.sum(0)
        num_covered += int(inside.any(1).sum())
        num_recalled += int((squared < fake_reach).any(1).sum())
    density = num_balls.double().mean().item() / k
    precision = (num_balls > 0).double().mean().item()
    return Neighbours(precision, num_recalled / len(real), density, num_covered / len(real))


def _squared_radii(x: Tensor, k: int) -> Tensor:
    """Squared distance of each to its k-th neighbour, itself left out. Shape: ``(N, D) -> (N,)``."""
    radii = []
    for rows, squared in _blocks(x, x):
        squared[torch.arange(len(rows), device=x.device), rows] = torch.inf
        radii.append(squared.kthvalue(k, 1).values)
    return torch.cat(radii)


def _blocks(a: Tensor, b: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
    """Squared distances of some rows of ``a`` to all of ``b``, with the rows."""
    lengths = b.square().sum(1)
    for rows in torch.arange(len(a), device=a.device).split(max(1, PAIRS // len(b))):
        block = a[rows]
        yield rows, torch.addmm(block.square().sum(1, keepdim=True) + lengths, block, b.T, alpha=-2)
