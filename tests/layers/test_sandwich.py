"""Sandwich and class-conditional norms: published numbers, and what they have beyond the laws of all branched layers."""

from typing import Any

import pytest
import torch
from torch.testing import assert_close

import renorm
from renorm.layers import ConditionalBatchNorm, SandwichBatchNorm
from tests.oracles.numbers import fill, inp, summary

Z = torch.tensor([1.0, 2.0, 3.0, 6.0]).view(4, 1, 1, 1)


def close(y: Any, numbers: Any) -> None:
    """Equal to numbers of float32 printed with six places."""
    assert_close(y.detach().double().flatten(), torch.tensor(numbers, dtype=torch.float64), rtol=1e-6, atol=2e-6)


def published(share: Any) -> Any:
    norm: Any = SandwichBatchNorm(1, ["0", "1"], share=share)
    with torch.no_grad():
        norm.weight.fill_(2)
        norm.bias.fill_(1)
        norm.branch_weight.copy_(torch.tensor([3, 0.5]))
        norm.branch_bias.copy_(torch.tensor([0.5, -1]))
    return norm


def larger(kind: Any) -> Any:
    """The table of classes holds scales, then biases."""
    norm: Any = kind(4, 3)
    table = fill(torch.zeros(3, 8), 0, 0.5)
    table[:, :4] += 1
    weight, bias = (norm.branch_weight, norm.branch_bias) if kind is SandwichBatchNorm else (norm.weight, norm.bias)
    with torch.no_grad():
        weight.copy_(table[:, :4].flatten())
        bias.copy_(table[:, 4:].flatten())
        if kind is SandwichBatchNorm:
            norm.weight.copy_(fill(norm.weight, 1, 0.3))
            norm.bias.copy_(fill(norm.bias, 0.1, 0.2))
    return norm


# --- numbers of the authors' functions -------------------------------------------------------------------------------


def test_shared_statistics_give_the_authors_numbers():
    norm, labels = published("statistics"), torch.tensor([0, 1, 0, 1])
    close(norm(Z, labels), [-2.914260, -1.034522, 3.5, 1.103565])
    close(norm.running_mean, [0.3])
    close(norm.running_var, [1.366667])
    close(norm.eval()(Z, labels), [7.092662, 0.954173, 17.357412, 4.375756])


def test_statistics_per_branch_give_the_authors_numbers():
    norm = published(())
    with renorm.route(norm, "0"):
        close(norm(Z), [-2.914260, 0.292870, 3.5, 13.121391])
    with renorm.route(norm, "1"):
        close(norm(2 * Z), [-1.569045, -1.034522, -0.5, 1.103567])
    close(norm.running_mean, [0.3, 0.6])
    close(norm.running_var, [1.366667, 2.766667])


@pytest.mark.parametrize(
    ("kind", "training", "expected"),
    [
        (SandwichBatchNorm, True, [43.898163, 138.192427, -13.152201, 0.759266, -1.730598]),
        (SandwichBatchNorm, False, [-25.629782, 137.324755, -10.675989, 0.282724, -1.807794]),
        (ConditionalBatchNorm, True, [14.690952, 118.225555, -10.791729, 0.659266, -1.809728]),
        (ConditionalBatchNorm, False, [-46.731493, 126.233556, -8.896816, 0.182724, -1.883788]),
    ],
)
def test_the_larger_table(kind, training, expected):
    norm, x, labels = larger(kind), inp(6, 4, 2, 3, 0), torch.tensor([0, 2, 1, 1, 0, 2])
    y = norm(x, labels)
    if not training:
        y = norm.eval()(x, labels)
    total, weighted, first, last = summary(y)
    close(torch.tensor([total, float(y.detach().double().abs().sum()), weighted, first, last]), expected)
    assert_close(norm.running_mean, torch.tensor([-0.0743698, -0.0563973, -0.0356541, -0.0170612]), rtol=0, atol=1e-7)
    assert_close(norm.running_var, torch.tensor([1.0477560, 0.9705632, 1.0158072, 0.9886514]), rtol=0, atol=2e-7)
