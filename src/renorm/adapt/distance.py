"""How far a stream is from the source, at each site, against what chance alone does."""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch

from renorm.adapt.memory import Memory, SiteRecord, Weights, variance, variation
from renorm.adapt.state import Distance
from renorm.adapt.step import ADAPTED, Source


def distances(memory: Memory, positions: Mapping[str, int], source: Mapping[str, Source]) -> dict[str, Distance]:
    """The distance of every site, as far as there are images."""
    return {
        key.removeprefix(ADAPTED): distance(record, memory.weights, positions[key], source[key.removeprefix(ADAPTED)])
        for key, record in memory.records.items()
        if key.startswith(ADAPTED)
    }


def distance(record: SiteRecord, weights: Weights, positions: int, source: Source) -> Distance:
    r"""The distance of one site and the noise of it.

    .. math:: \sqrt{\operatorname{mean}_c \frac{(\mu - \mu_s)^2 + (\sigma - \sigma_s)^2}{\sigma_s^2 + \epsilon}}, \qquad
        \sqrt{\operatorname{mean}_c \frac{\operatorname{SE}^2(\mu) + \operatorname{SE}^2(\sigma)}{\sigma_s^2 + \epsilon}}

    The standard errors count images, not values, and blocks in place of images where those vary more. That of a standard
    deviation is that of the images' mean squares over :math:`2 \sigma`. The noise of a single image is infinite.
    """
    unit, measured = source.unit, variance(record, weights, positions)
    var = record.within + record.spread if measured is None else measured
    gap = (record.mean - source.mean.double()).square() + (var.sqrt() - source.var.double().sqrt()).square()
    images, blocks = variation(record, weights, unit)
    one = images + (record.wobble / (4 * var.clamp(min=1e-12) * unit)).mean() / max(1 - weights.crowding, 1e-12)
    noise = one * weights.crowding * (blocks / images.clamp(min=1e-300)).clamp(min=1)
    value, noise = torch.stack([(gap / unit).mean(), noise]).sqrt().tolist()
    return Distance(value, noise if math.isfinite(noise) else math.inf)


def overall(sites: Mapping[str, Distance]) -> Distance:
    """The root mean square over sites; infinitely uncertain without any."""
    if not sites:
        return Distance(0.0, math.inf)
    value, noise = (
        math.sqrt(sum(number**2 for number in each) / len(sites)) for each in zip(*sites.values(), strict=True)
    )
    return Distance(value, noise)
