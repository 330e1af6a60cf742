"""Branch normalization, one sample and one channel at a time."""

import torch


def branch_norm(x, population, row, weight, bias, eps=1e-5, given=None):
    """Normalize sample n by the moments of its population, scale by its row's affine.

    ``population`` and ``row`` are lists of ints. ``given`` maps populations to (mean, var) in place of the batch's.
    Returns y and {population: (mean, biased var, count)}.
    """
    x = x.double()
    found = {}
    for k in sorted(set(population)):
        members = torch.stack([x[n] for n in range(len(x)) if population[n] == k]).movedim(1, 0).flatten(1)
        mean = torch.stack([channel.sum() / channel.numel() for channel in members])
        var = torch.stack(
            [((channel - m) ** 2).sum() / channel.numel() for channel, m in zip(members, mean, strict=True)]
        )
        found[k] = (mean, var, members.shape[1])
    out = []
    for n in range(len(x)):
        mean, var = (given or found)[population[n]][:2]
        channels = []
        for c in range(x.shape[1]):
            scale = weight[row[n]][c] / (var[c] + eps) ** 0.5
            channels.append((x[n, c] - mean[c]) * scale + bias[row[n]][c])
        out.append(torch.stack(channels))
    return torch.stack(out), found
