"""Running statistics that several processes have moved, made one."""

import torch
from torch import nn

from renorm.banks.sites import branches_of, tracked
from renorm.functional import Moments, all_merge


@torch.no_grad()
def pool_statistics_(model: nn.Module, samples: int) -> None:
    r"""Replace the running statistics of every process by those of all of them, with one collective.

    .. math:: \mu = \sum_r w_r \mu_r, \qquad \sigma^2 = \sum_r w_r \left(\sigma_r^2 + (\mu_r - \mu)^2\right),
        \qquad w_r = n_r / \textstyle\sum_s n_s

    which is Chan's merge: the spread of the means counts too.

    Args:
        model: What trains, its sites with branches or without.
        samples: Images :math:`n_r` that this process has seen since the statistics were last alike.
    """
    sites = [view for branch in branches_of(model) or (None,) for view in tracked(model, branch).values()]
    if not sites:
        return
    means, variances = [site.mean for site in sites], [site.var for site in sites]
    mean, var = (torch.cat(tensors).double()[None] for tensors in (means, variances))
    pooled = all_merge(Moments(mean, var, float(samples)), None)
    sizes = [len(tensor) for tensor in means]
    for own, found in ((means, pooled.mean), (variances, pooled.var)):
        for tensor, value in zip(own, found[0].split(sizes), strict=True):
            tensor.copy_(value)
