"""Moving a site by what exceeds sampling noise, channel by channel."""

from __future__ import annotations

from functools import partial
from typing import Literal, NamedTuple

import torch
import torch.distributed as dist
from torch import Tensor

from renorm.adapt.memory import by_image
from renorm.banks import Statistics
from renorm.functional import Moments, all_merge, instance_moments, pool, unbiased
from renorm.routing import RowOrder

Only = Literal["mean", "variance"]
ERRORS = 6.0  # standard errors that may be chance, times what the source keeps: three where it keeps half


class Estimate(NamedTuple):
    """What some images say of a site, and the squared standard errors of that. Shape: ``(C,)`` each."""

    mean: Tensor
    var: Tensor
    mean_error: Tensor
    var_error: Tensor


def image_moments(x: Tensor, num_images: int, order: RowOrder | None = None) -> Moments:
    """The moments of every image and channel, where a site sees one row of each, or several in an order that was told.

    Shape: ``(M, C, *)`` to ``(num_images, C)``, or ``(M, C)`` where it is not known which rows an image has.
    """
    rows = instance_moments(x)
    images = by_image(rows, num_images, order)
    return rows if images is None else images


def estimate(images: Moments, group: dist.ProcessGroup | None = None) -> Estimate:
    r"""A site's mean and unbiased variance, and how well images that differ know them.

    With :math:`\mu_i, v_i` of image i and :math:`q_i = v_i + (\mu_i - \mu)^2`, the squared errors are the variances of
    :math:`\mu_i` and of :math:`q_i` over n: pixels of one image are not independent, images are. One image has none.

    Shape: moments of ``(N, C)``, all ranks' together.
    """
    everyone = partial(all_merge, group=group) if group is not None else lambda m: m
    whole = everyone(pool(images))
    square = images.var + (images.mean - whole.mean).square()
    errors = []
    for values in (images.mean, square):
        m = everyone(pool(Moments(values, torch.zeros_like(values), 1)))
        n = torch.as_tensor(m.count, dtype=m.mean.dtype, device=m.mean.device).flatten()[0]
        errors.append(m.var[0] / (n - 1).clamp(min=0))  # 0 / 0 for one image
    count = torch.as_tensor(whole.count, device=whole.mean.device).flatten()[0]
    return Estimate(whole.mean[0], unbiased(Moments(whole.mean[0], whole.var[0], count)), *errors)


def soft(x: Tensor, threshold: Tensor) -> Tensor:
    """Nothing as far as the threshold, and what is beyond it (Donoho & Johnstone, 1994).

    Example:
        >>> soft(torch.tensor([-5.0, 1.0, 4.0]), torch.tensor(3.0))
        tensor([-2., 0., 1.])
    """
    return x.sign() * (x.abs() - threshold).clamp(min=0)


def moved(source: Statistics, found: Estimate, weight: float, only: Only | None = None) -> Statistics:
    r"""The source's statistics, moved by the share ``1 - weight`` of what images show beyond their noise.

    .. math:: \mu_{source} + (1 - s) \operatorname{soft}(\mu - \mu_{source}, 6 s \operatorname{SE}(\mu)), \qquad
        \sigma^2_{source} + (1 - s) \operatorname{soft}(\sigma^2 - \sigma^2_{source}, 6 s \operatorname{SE}(\sigma^2))

    Three standard errors where the source keeps half; fewer where it keeps less, as a channel of images that are far is hardly
    where it was by chance. A channel that chance may explain keeps the source bit for bit.

    Reduces to: full replacement at s = 0.
    """
    mean, var = source.mean.clone(), source.var.clone()
    if only != "variance":
        mean = _towards(mean, found.mean, found.mean_error, weight)
    if only != "mean":
        var = _towards(var, found.var, found.var_error, weight)
    return Statistics(mean, var)


def _towards(source: Tensor, found: Tensor, error: Tensor, weight: float) -> Tensor:
    wide = torch.promote_types(source.dtype, found.dtype)
    old = source.to(wide)
    step = (1 - weight) * soft(found.to(old) - old, ERRORS * weight * error.to(old).sqrt())
    return torch.where(step == 0, old, old + step).to(source)
