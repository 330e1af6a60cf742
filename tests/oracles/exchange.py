"""Exchange of moments, one sample and one part of it at a time."""

import torch
from torch import Tensor


def parts(over: str, shape: tuple[int, ...], groups: int = 1) -> list[list[int]]:
    """Flat indices of the values of each part of a sample of shape ``(C, *)``."""
    channels, positions = shape[0], 1
    for size in shape[1:]:
        positions *= size
    found: dict[tuple[int, int], list[int]] = {}
    for c in range(channels):
        group = {"pono": 0, "in": c, "ln": 0}.get(over, c // (channels // groups))
        for p in range(positions):
            key = (group, p if over in ("pono", "gpono") else 0)
            found.setdefault(key, []).append(c * positions + p)
    return list(found.values())


def moments(values: Tensor, eps: float) -> tuple[Tensor, Tensor]:
    """Mean, and deviation by the unbiased variance."""
    mean = values.sum() / len(values)
    return mean, (((values - mean) ** 2).sum() / (len(values) - 1) + eps) ** 0.5


def exchange(x: Tensor, permutation, over: str, groups: int = 1, eps: float = 1e-5, own: float = 0.0) -> Tensor:
    """In float64, differentiable; ``own`` is the share of a sample's own moments in its new ones."""
    flat = x.double().flatten(1)
    rows = []
    for n in range(len(x)):
        row = flat[n].clone()
        for index in parts(over, tuple(x.shape[1:]), groups):
            mean, std = moments(flat[n, index], eps)
            new_mean, new_std = moments(flat[int(permutation[n]), index], eps)
            new_mean, new_std = own * mean + (1 - own) * new_mean, own * std + (1 - own) * new_std
            row[index] = (flat[n, index] - mean) / std * new_std + new_mean
        rows.append(row)
    return torch.stack(rows).view(x.shape)


def exchange_positive(x: Tensor, permutation, over: str, groups: int = 1, eps: float = 1e-5) -> Tensor:
    """By the strictly positive values and their biased variance; parts with fewer than two keep their values."""
    flat = x.double().flatten(1)
    rows = []
    for n in range(len(x)):
        row = flat[n].clone()
        for index in parts(over, tuple(x.shape[1:]), groups):
            own, other = (v[v > 0] for v in (flat[n, index], flat[int(permutation[n]), index]))
            if len(own) > 1 and len(other) > 1:
                std, new_std = ((((v - v.mean()) ** 2).sum() / len(v) + eps) ** 0.5 for v in (own, other))
                row[index] = (flat[n, index] - own.mean()) / std * new_std + other.mean()
        rows.append(row)
    return torch.stack(rows).view(x.shape)
