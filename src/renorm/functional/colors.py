"""Giving a picture the colours of another one."""

from __future__ import annotations

import torch
from torch import Tensor

from renorm.functional.moments import at_least_float32

FLAT = 1e-6  # of the largest variance: colours do not vary in a direction that has less
ROUNDING = 1e-12  # of the squared mean: less variance than that is the float32 mean's error


def match_colors(picture: Tensor, like: Tensor) -> Tensor:
    r"""The picture with the mean colour and the covariance of colours of another one.

    .. math:: y = \Sigma_l^{1/2} \Sigma_p^{-1/2} (x - \mu_p) + \mu_l

    over all pixels, with covariances over :math:`n - 1`, so that the number of pixels of either does not count, and symmetric
    square roots. Values may leave 0..1; clamp them where a picture is written.

    Colours that do not vary in the picture stay flat: of a grey one, only the brightness follows the other's.

    Shape: ``(*, C, H, W)``, kept; the other ``(*, C, H', W')`` with the same leading sizes, or ones that broadcast.

    Reduces to: the picture, where the other has its mean and covariance.

    Raises:
        ValueError: other channels, or fewer than two pixels.

    Reference: Gatys et al., *Preserving Color in Neural Artistic Style Transfer*, 2016; the roots are those of image analogies.

    Example:
        >>> grey = torch.tensor([[[0.0, 1.0]]])
        >>> match_colors(grey, torch.tensor([[[0.25, 0.75]]]))
        tensor([[[0.2500, 0.7500]]])
    """
    _check(picture, like)
    x = at_least_float32(picture).flatten(-2)
    mean, covariance = _colors(x)
    wanted_mean, wanted = _colors(at_least_float32(like).flatten(-2))
    turn = (_power(wanted_mean, wanted, 0.5) @ _power(mean, covariance, -0.5)).to(x.dtype)
    return (turn @ (x - mean) + wanted_mean.to(x.dtype)).to(picture.dtype).unflatten(-1, picture.shape[-2:])


def _colors(x: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and covariance over pixels. Shape: ``(*, C, P) -> (*, C, 1), (*, C, C)``."""
    mean = x.mean(-1, keepdim=True)
    centered = x - mean
    return mean, centered @ centered.mT / (x.shape[-1] - 1)


def _power(mean: Tensor, covariance: Tensor, exponent: float) -> Tensor:
    """A power of a symmetric matrix, in float64; of directions in which colours do not vary it is 0."""
    values, vectors = torch.linalg.eigh(covariance.double())
    least = FLAT * values[..., -1:] + ROUNDING * mean.double().square().amax(-2)
    powers = torch.where(values > least, values.clamp(min=least) ** exponent, 0.0)
    return (vectors * powers.unsqueeze(-2)) @ vectors.mT


def _check(picture: Tensor, like: Tensor) -> None:
    fits = picture.ndim >= 3 and like.ndim >= 3 and picture.shape[-3] == like.shape[-3]
    if not fits or min(picture[..., 0, :, :].numel(), like[..., 0, :, :].numel()) < 2:
        raise ValueError(
            f"pictures of shape {tuple(picture.shape)} and {tuple(like.shape)} were given. (C, H, W) with as many channels and "
            "at least two pixels is needed of both. Make both RGB: a grey one has three equal channels."
        )
