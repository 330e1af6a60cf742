"""Statistics of sites, one value at a time in float64."""

import copy
from collections.abc import Iterable, Sequence
from math import fsum, sqrt
from typing import Any

import torch
from torch import Tensor, nn


def pooled(features: Sequence[Tensor]) -> tuple[Tensor, Tensor, int]:
    """Mean, unbiased variance and number of values of every channel of several ``(N, C, *)``."""
    channels = [[v for x in features for v in x[:, c].double().flatten().tolist()] for c in range(features[0].shape[1])]
    means = [fsum(values) / len(values) for values in channels]
    variances = [
        fsum((v - mean) ** 2 for v in values) / (len(values) - 1) for values, mean in zip(channels, means, strict=True)
    ]
    return torch.tensor(means, dtype=torch.float64), torch.tensor(variances, dtype=torch.float64), len(channels[0])


def seen_in_training(model: nn.Module, batches: Iterable[Any], mode: bool = True) -> dict[str, list[Tensor]]:
    """What every norm of a copy of a plain model is given in training mode (or evaluation), dropout off."""
    model = copy.deepcopy(model).train(mode)
    seen: dict[str, list[Tensor]] = {}
    for name, module in model.named_modules():
        if isinstance(module, nn.Dropout):
            module.eval()
        if hasattr(module, "running_mean"):
            module.register_forward_pre_hook(lambda _, args, name=name: seen.setdefault(name, []).append(args[0]))
    with torch.no_grad():
        for batch in batches:
            model(batch)
    return seen


def distance(mean_a: Tensor, var_a: Tensor, mean_b: Tensor, var_b: Tensor) -> float:
    """Root mean square over channels of the gap of means and of standard deviations, in those of a."""
    terms = []
    for c in range(len(mean_a)):
        mean, var, other, other_var = (float(t[c]) for t in (mean_a, var_a, mean_b, var_b))
        terms.append(((mean - other) ** 2 + (sqrt(var) - sqrt(other_var)) ** 2) / var)
    return sqrt(fsum(terms) / len(terms))
