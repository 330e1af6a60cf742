"""How far apart two sets of features are under a polynomial kernel."""

import torch
from torch import Tensor

from renorm.metrics.features import two_sets

PAIRS = 2**22  # kernel values held at once


def kid(a: Tensor, b: Tensor) -> float:
    r"""Squared maximum mean discrepancy of two sets of features under a cubic kernel, over all pairs and without bias.

    .. math:: \frac{1}{n(n-1)} \sum_{i \ne j} k(a_i, a_j) + \frac{1}{m(m-1)} \sum_{i \ne j} k(b_i, b_j)
        - \frac{2}{nm} \sum_{i,j} k(a_i, b_j), \qquad k(x, y) = \left(\frac{x \cdot y}{d} + 1\right)^3

    The sets may differ in size; the mean over samples of one distribution is 0, so that values may be negative. Name the network
    of the features and n beside it.

    Shape: ``(N, D), (M, D)``, in float64 inside.

    Raises:
        ValueError: If the two differ in features, one has fewer than two images, or values that are not finite.

    Reference: Bińkowski et al., *Demystifying MMD GANs*, ICLR 2018; without their subsets, all pairs at once.

    Example:
        >>> a = torch.tensor([[-1.0], [1.0]])
        >>> kid(a, a), kid(a, a + 10)
        (-8.0, 999392.0)
    """
    a, b = two_sets(a, b, fewest=2)
    between = _sum_of_kernels(a, b) / (len(a) * len(b))
    return _mean_within(a) + _mean_within(b) - 2 * between


def kid_parts(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    r"""What each image of two sets adds to :func:`kid`, which is the mean over one set plus the mean over the other.

    .. math:: p_i = \frac{1}{n-1} \sum_{j \ne i} k(a_i, a_j) - \frac1m \sum_j k(a_i, b_j)

    and likewise of the second set. Twice the deviations of these from their mean are, to first order, those of the distance: an
    image is in as many pairs on the left as on the right. From them come intervals, and differences on the same images.

    Shape: ``(N, D), (M, D)`` to ``(N,), (M,)``, in float64.

    Raises:
        ValueError: As :func:`kid`.

    Example:
        >>> a = torch.tensor([[-1.0], [1.0]])
        >>> kid_parts(a, a)
        (tensor([-4., -4.], dtype=torch.float64), tensor([-4., -4.], dtype=torch.float64))
    """
    a, b = two_sets(a, b, fewest=2)
    return _parts(a, b), _parts(b, a)


def _parts(x: Tensor, other: Tensor) -> Tensor:
    with_itself = _kernel(x.square().sum(1), x.shape[1])
    return (_kernels_of_each(x, x) - with_itself) / (len(x) - 1) - _kernels_of_each(x, other) / len(other)


def _kernels_of_each(x: Tensor, other: Tensor) -> Tensor:
    """Sum of kernels of each image with all of another set."""
    return torch.cat([_kernel(block @ other.T, x.shape[1]).sum(1) for block in x.split(max(1, PAIRS // len(other)))])


def _mean_within(x: Tensor) -> float:
    """Mean kernel of all pairs of two different images."""
    with_itself = _kernel(x.square().sum(1), x.shape[1]).sum().item()
    return (_sum_of_kernels(x, x) - with_itself) / (len(x) * (len(x) - 1))


def _sum_of_kernels(a: Tensor, b: Tensor) -> float:
    blocks = a.split(max(1, PAIRS // len(b)))
    return sum(_kernel(block @ b.T, a.shape[1]).sum().item() for block in blocks)


def _kernel(products: Tensor, num_features: int) -> Tensor:
    return (products / num_features + 1) ** 3
