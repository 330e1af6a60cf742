"""How far to move a model's statistics, read off the unlabelled images themselves."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

from renorm.adapt.excess import image_moments
from renorm.banks import Branch, Counted, Forward, SiteTensors, call, counted, observed
from renorm.functional import Moments, all_merge, pool
from renorm.routing import RowOrder

SINGLE = 16.0  # prior for one image, which cannot tell a shift from chance: that of single-image normalization
HALF = 0.5  # the most that the source keeps of a shift that is beyond noise
CHANCE = 2.0  # squared distances up to so many times their noise may be chance


@dataclass(frozen=True)
class Evidence:
    """How far the images' means are from the source's at each site, and how far chance alone would put them.

    Attributes:
        sites: names.
        gap: squared distance of the means, averaged over channels, in source variances. Shape ``(S,)``.
        noise: what ``gap`` is expected to be without a shift. Shape ``(S,)``; infinite for one image.
        samples: how many images there were.
    """

    sites: tuple[str, ...]
    gap: Tensor
    noise: Tensor
    samples: int

    @property
    def weight(self) -> float:
        """The weight that the source should keep; see :func:`auto_weight`."""
        return auto_weight(self.gap, self.noise, self.samples)


def auto_weight(gap: Tensor, noise: Tensor, samples: int) -> float:
    r"""The weight that the source keeps of what a few images show beyond noise; see :func:`renorm.adapt.excess.moved`.

    .. math:: s = \min\left(\frac12, \frac{1}{1 + 2 d}\right), \qquad d^2 = \operatorname{median}_{sites}(\delta - \nu)

    One half, as even the statistics of many shifted images are not those the weights were trained with, and less where images
    are more than half a standard deviation of the source away. Where the medians over sites say :math:`\delta \le 2 \nu`, with
    :math:`\delta` the gap and :math:`\nu` its noise, all of it may be chance, and the source is kept bit for bit (s = 1). One
    image cannot tell: s = 16/17, of all it shows.

    The form and its constants are empirical: the card of the method says on what they were chosen, and what they are worth on
    networks that were not looked at.

    Shape: ``(S,)`` each, one number per site.

    Args:
        gap: squared distance between the means of the images and the source's, in source variances, averaged over channels.
        noise: its expectation without a shift: the variance over images of their own means, divided by n. So values of one
            image are not taken for independent.
        samples: how many images.

    Raises:
        ValueError: gaps that are not finite, other shapes, or no image.

    Example:
        >>> auto_weight(torch.tensor([0.1, 0.2]), torch.tensor([0.002, 0.002]), 32)
        0.5
    """
    if samples < 1 or not gap.isfinite().all() or gap.shape != noise.shape:
        raise ValueError(
            f"gaps {gap.tolist()} and noises {noise.tolist()} of {samples} images were given. Choosing a weight needs an image "
            f"and finite numbers, one of each per site. Look for NaN in the images or the weights."
        )
    if not noise.isfinite().all():
        return SINGLE / (SINGLE + samples)
    may_be_chance = float(gap.median()) <= CHANCE * float(noise.median())
    distance = math.sqrt(max(float((gap - noise).median()), 0.0))
    return 1.0 if may_be_chance else min(HALF, 1 / (1 + 2 * distance))


def evidence(
    model: nn.Module,
    images: Any,
    targets: Mapping[str, SiteTensors],
    branch: Branch,
    samples: int,
    *,
    group: dist.ProcessGroup | None = None,
    forward: Forward | None = None,
) -> Evidence:
    """Compare images with the statistics installed, in one forward that changes nothing.

    Sites whose rows are no images have no say, unless their order was told.

    Args:
        targets: the sites.
        samples: how many images there are, over all ranks.

    Raises:
        ValueError: features that are not finite, or no site at all that sees images.
    """
    rows: dict[str, list[Tensor]] = {name: [] for name in targets}
    everyone = None if group is None else partial(all_merge, group=group)
    batch = counted(images, whole=forward is not None)
    apart: dict[str, int] = {}

    def observe(name: str, site: SiteTensors, x: Tensor) -> None:
        means = image_means(x, batch.samples, batch.order)
        if len(means) != batch.samples and everyone is None:
            apart[name] = len(x)  # regions, say: of which image they are is not known
            return
        m = pool(Moments(means, torch.zeros_like(means), 1))  # no image on this rank: zeros that count nothing
        if everyone is not None:
            m = everyone(m)
        rows[name].append(compared(m, site))

    with observed(model, targets, branch, observe):
        call(model, batch, forward)
    _check_some(rows, apart, batch)
    reached = {name: torch.stack(found).mean(0) for name, found in rows.items() if found}
    table = torch.stack(list(reached.values())).cpu() if reached else torch.empty(0, 2)
    if broken := [name for name, gap in zip(reached, table[:, 0].tolist(), strict=True) if not math.isfinite(gap)]:
        raise ValueError(
            f"the statistics of site {broken[0]!r} are not finite on these images. How far they are cannot be told. Look for NaN "
            f"in the images or the weights."
        )
    return Evidence(tuple(reached), table[:, 0], table[:, 1], samples)


def _check_some(rows: Mapping[str, list[Tensor]], apart: Mapping[str, int], batch: Counted) -> None:
    if apart and not any(rows.values()):
        name, n = next(iter(apart.items()))
        raise ValueError(
            f"site {name!r} got {n} rows of {batch.samples} images, and no site sees one row for each. How far images are from "
            f"the source needs rows by image. Say how they are ordered: folded='sample' or 'time'; how many there are: samples=; "
            f"or how much the source is worth: prior=64."
        )


def image_means(x: Tensor, num_images: int, order: RowOrder | None = None) -> Tensor:
    """The mean of every image and channel; see :func:`renorm.adapt.excess.image_moments`."""
    return image_moments(x, num_images, order).mean


def compared(m: Moments, site: SiteTensors) -> Tensor:
    """The gap and the noise of one site, given the moments of its images' means. Shape: ``(2,)``."""
    count = torch.as_tensor(m.count, dtype=m.mean.dtype, device=m.mean.device).flatten()[0]
    scale = site.var + float(getattr(site.module, "eps", 1e-5))
    gap = (m.mean[0] - site.mean).square() / scale
    noise = m.var[0] / (count - 1).clamp(min=0) / scale  # infinite for one image
    return torch.stack([gap.mean(), noise.mean() if count > 1 else noise.new_tensor(torch.inf)])
