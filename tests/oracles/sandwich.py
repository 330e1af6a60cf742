"""The two affines after normalization, one sample and one channel at a time, written as in the paper."""

import torch


def sandwich_norm(x, population, branch, shared, own, eps=1e-5, given=None):
    """``gamma_i * (gamma * x_hat + beta) + beta_i``; branch -1 is the shared affine alone.

    ``population`` and ``branch`` are lists of ints, ``shared`` is (gamma, beta) of (C,), ``own`` of (K, C). ``given`` maps
    populations to (mean, var) in place of the batch's. Returns y and {population: (mean, biased var, count)}.
    """
    x = x.double()
    found = {}
    for k in sorted(set(population)):
        values = torch.cat([x[n].flatten(1) for n in range(len(x)) if population[n] == k], 1)
        mean = values.sum(1) / values.shape[1]
        found[k] = mean, ((values - mean[:, None]) ** 2).sum(1) / values.shape[1], values.shape[1]
    samples = []
    for n, i in enumerate(branch):
        mean, var = (found if given is None else given)[population[n]][:2]
        channels = []
        for c in range(x.shape[1]):
            y = shared[0][c] * ((x[n, c] - mean[c]) / torch.sqrt(var[c] + eps)) + shared[1][c]
            channels.append(y if i < 0 else own[0][i, c] * y + own[1][i, c])
        samples.append(torch.stack(channels))
    return torch.stack(samples), found
