"""How far apart two sets of features are as two normal distributions."""

import torch
from torch import Tensor

from renorm.metrics.features import two_sets


def frechet(a: Tensor, b: Tensor) -> float:
    r"""Fréchet distance of two normal distributions with the means and covariances of the features, squared.

    .. math:: |\mu_a - \mu_b|^2 + \mathrm{tr}(\Sigma_a) + \mathrm{tr}(\Sigma_b)
        - 2 \, \mathrm{tr} (\Sigma_a^{1/2} \Sigma_b \Sigma_a^{1/2})^{1/2}

    with covariances over :math:`n - 1`. It is biased: two samples of one distribution are apart, and the more so the fewer
    they are, so that only values of equally many images of each side are comparable.

    It is a *FID* only for features of the Inception network of 2015. Name the network and n beside any other.

    Shape: ``(N, D), (M, D)``, in float64 inside; fewer images than features will do.

    Reduces to: 0 for a set and itself, the squared distance of means for equal covariances.

    Raises:
        ValueError: If the two differ in features, one has fewer than two images, or values that are not finite.

    Reference: Dowson & Landau, *The Fréchet Distance between Multivariate Normal Distributions*, 1982; Heusel et al., *GANs
    Trained by a Two Time-Scale Update Rule Converge to a Local Nash Equilibrium*, NeurIPS 2017.

    Example:
        >>> a = torch.tensor([[0.0, 0.0], [1.0, 0.0], [0.0, 1.0], [1.0, 1.0]])
        >>> round(frechet(a, a + torch.tensor([3.0, 0.0])), 6)
        9.0
    """
    a, b = two_sets(a, b, fewest=2)
    gap = a.mean(0) - b.mean(0)
    root_a, root_b = _root(a), _root(b)
    common = torch.linalg.svdvals(root_a @ root_b.T).sum()
    return (gap.square().sum() + root_a.square().sum() + root_b.square().sum() - 2 * common).item()


def _root(x: Tensor) -> Tensor:
    r"""R with :math:`R^T R` the covariance, without forming it. Shape: ``(N, D) -> (min(N, D), D)``.

    Then :math:`\Sigma_a^{1/2} \Sigma_b \Sigma_a^{1/2}` has the squared singular values of :math:`R_a R_b^T`, whose sum needs no
    root of an eigenvalue that rounding has made negative or 1e-17: with these a set is 1e-6 from itself.
    """
    return torch.linalg.qr((x - x.mean(0)) / (len(x) - 1) ** 0.5, mode="r").R
