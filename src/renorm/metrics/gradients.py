"""What branches ask of the weights they share: the size of each one's gradient in every layer, and their directions."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import combinations

import torch
from torch import Tensor


@dataclass(frozen=True)
class LayerGradients:
    """Gradients of one weight.

    Args:
        name: Of the weight.
        norms: Euclidean length of each branch's gradient.
        cosines: Of the angle between those of each pair of branches; 0 where one of them is 0.
    """

    name: str
    norms: Mapping[str, float]
    cosines: Mapping[tuple[str, str], float]


def compare_gradients(weights: Mapping[str, Tensor], losses: Mapping[str, Tensor]) -> list[LayerGradients]:
    r"""Length of each branch's gradient for each weight, and the cosine between branches.

    .. math:: \left\|\nabla_w L_k\right\|, \qquad
        \frac{\langle \nabla_w L_j, \nabla_w L_k \rangle}{\|\nabla_w L_j\| \|\nabla_w L_k\|}

    Nothing is added to ``.grad``. A cosine below 0 means that a step for one branch raises the loss of the other.

    Args:
        weights: By name, in the order of the model.
        losses: Of each branch, scalars that still have their graph.

    Raises:
        ValueError: No weights, or fewer than two losses.

    Example:
        >>> w = torch.tensor([1.0, 2.0], requires_grad=True)
        >>> (layer,) = compare_gradients({"w": w}, {"clean": 3 * w[0], "adv": w.sum()})
        >>> layer.norms["clean"], round(layer.cosines["clean", "adv"], 3)
        (3.0, 0.707)
    """
    if not weights or len(losses) < 2:
        raise ValueError(
            f"{len(weights)} weights and {len(losses)} losses were given. Gradients of branches are compared where two or more "
            f"share a weight. Give the losses of a model's branches, and weights that they share."
        )
    found = {
        branch: torch.autograd.grad(loss, list(weights.values()), retain_graph=True, materialize_grads=True)
        for branch, loss in losses.items()
    }
    by_weight = {
        name: {branch: g[i].double().flatten() for branch, g in found.items()} for i, name in enumerate(weights)
    }
    return [_layer(name, each) for name, each in by_weight.items()]


def _layer(name: str, gradients: Mapping[str, Tensor]) -> LayerGradients:
    norms = {branch: float(gradient.norm()) for branch, gradient in gradients.items()}
    cosines = {
        (a, b): float(gradients[a] @ gradients[b]) / (norms[a] * norms[b]) if norms[a] and norms[b] else 0.0
        for a, b in combinations(gradients, 2)
    }
    return LayerGradients(name, norms, cosines)


def mean_gradients(batches: list[list[LayerGradients]]) -> list[LayerGradients]:
    """The mean over batches of lengths and of cosines, weight by weight."""
    return [
        LayerGradients(
            layers[0].name,
            {branch: sum(layer.norms[branch] for layer in layers) / len(layers) for branch in layers[0].norms},
            {pair: sum(layer.cosines[pair] for layer in layers) / len(layers) for pair in layers[0].cosines},
        )
        for layers in zip(*batches, strict=True)
    ]
