"""Gradients of branches against loops over single weights."""

import math

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.testing import assert_close

from renorm.metrics import LayerGradients, compare_gradients, mean_gradients


def test_lengths_and_cosines_are_those_of_backward():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 5), nn.Tanh(), nn.Linear(5, 3))
    y = torch.tensor([0, 2, 1])
    inputs = {"clean": torch.randn(3, 4), "adv": torch.randn(3, 4), "weak": torch.randn(3, 4)}
    weights = {name: p for name, p in model.named_parameters() if p.ndim > 1}
    found = compare_gradients(weights, {name: F.cross_entropy(model(x), y) for name, x in inputs.items()})
    assert [layer.name for layer in found] == ["0.weight", "2.weight"]
    assert all(p.grad is None for p in model.parameters())
    flat: dict[str, dict[str, list[float]]] = {}
    for name, x in inputs.items():
        model.zero_grad()
        F.cross_entropy(model(x), y).backward()
        flat[name] = {key: weight.grad.flatten().tolist() for key, weight in weights.items() if weight.grad is not None}
    for layer in found:
        for name, norm in layer.norms.items():
            assert_close(norm, math.sqrt(sum(g * g for g in flat[name][layer.name])), rtol=1e-5, atol=0)
        for (a, b), cosine in layer.cosines.items():
            dot = sum(p * q for p, q in zip(flat[a][layer.name], flat[b][layer.name], strict=True))
            assert_close(cosine, dot / (layer.norms[a] * layer.norms[b]), rtol=1e-4, atol=1e-6)
    assert list(found[0].cosines) == [("clean", "adv"), ("clean", "weak"), ("adv", "weak")]


def test_a_weight_that_a_branch_does_not_reach_has_no_direction():
    w, v = (torch.ones(2, requires_grad=True) for _ in range(2))
    layers = compare_gradients({"w": w, "v": v}, {"a": w.sum(), "b": (w - v).sum()})
    assert layers[1] == LayerGradients("v", {"a": 0.0, "b": math.sqrt(2)}, {("a", "b"): 0.0})
    assert_close(layers[0].cosines["a", "b"], 1.0)


def test_means_over_batches():
    one, other = (LayerGradients("w", {"a": n, "b": 2.0}, {("a", "b"): c}) for n, c in ((1.0, -1.0), (3.0, 0.5)))
    assert mean_gradients([[one], [other]]) == [LayerGradients("w", {"a": 2.0, "b": 2.0}, {("a", "b"): -0.25})]


def test_one_branch_alone_is_refused():
    w = torch.ones(2, requires_grad=True)
    with pytest.raises(
        ValueError, match=r"1 weights and 1 losses were given.*two or more share a weight. Give the losses"
    ):
        compare_gradients({"w": w}, {"a": w.sum()})
