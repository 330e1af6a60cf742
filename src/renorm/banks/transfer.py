"""Statistics of a changed network from those of the original, by what the same images show of the change."""

from __future__ import annotations

from dataclasses import replace

import torch

from renorm.banks.bank import Bank
from renorm.banks.statistics import Statistics

ROUNDING = 1e-12  # of a squared mean: the variance that float32 gives a constant


def transfer(source: Bank, before: Bank, after: Bank) -> Bank:
    r"""The source's statistics, moved by the difference between two measurements on the same images.

    .. math:: \mu = \mu_{after} + (\mu_{source} - \mu_{before}) \frac{\sigma_{after}}{\sigma_{before}}, \qquad
        \sigma^2 = \sigma^2_{source} \frac{\sigma^2_{after}}{\sigma^2_{before}}

    What the images are unlike those of training cancels, so that a few hundred of any condition do. Channels without variance
    before are moved by the difference of the means alone.

    Reduces to: the source bit for bit where nothing changed.

    Args:
        source: what the original normalizes by.
        before: measured through the original.
        after: measured through the changed network, on the same batches.

    Raises:
        ValueError: a site that the source or the measurement before lacks.
    """
    sites: dict[str, Statistics] = {}
    for name, a in after.sites.items():
        if name not in source.sites or name not in before.sites:
            raise ValueError(
                f"the original has no statistics for site {name!r}, which the changed model has. Both must have the same sites. "
                "Give the model that this one was made from."
            )
        s, b = source.sites[name], before.sites[name]
        varied = b.var > ROUNDING * b.mean.square()
        scale = torch.where(varied, a.var / b.var, torch.ones_like(b.var))
        kept = (a.mean == b.mean) & (a.var == b.var)
        mean = torch.where(kept, s.mean, a.mean + (s.mean - b.mean) * scale.sqrt())
        sites[name] = replace(a, mean=mean, var=torch.where(kept, s.var, s.var * scale), count=None)
    return replace(after, sites=sites, samples=None)
