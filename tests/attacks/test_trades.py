"""The loss of TRADES and its attack."""

import math

import pytest
import torch
from torch import nn
from torch.testing import assert_close

import renorm
from renorm.attacks import Ball, divergence, trades, trades_loss
from renorm.attacks.search import steepest
from tests.attacks.test_attack import batch, change, convolutional
from tests.attacks.test_state import network
from tests.oracles.attack import softmax


def test_the_loss_is_the_formula():
    torch.manual_seed(0)
    z, worse, y = torch.randn(4, 3).double(), torch.randn(4, 3).double(), torch.tensor([0, 2, 1, 1])
    expected = 0.0
    for own, other, label in zip(z.tolist(), worse.tolist(), y.tolist(), strict=True):
        p, q = softmax(own), softmax(other)
        expected += -math.log(p[label]) + 6 * sum(a * math.log(a / b) for a, b in zip(p, q, strict=True))
    assert_close(trades_loss(z, worse, y).item(), expected / 4)
    assert_close(trades_loss(z, worse, y, beta=0), nn.functional.cross_entropy(z, y))
    assert_close(divergence(z, z), torch.zeros(4).double(), rtol=0, atol=1e-12)


def test_gradients_flow_through_both_predictions():
    y = torch.tensor([0, 2])
    inputs = [torch.randn(2, 3, dtype=torch.float64, requires_grad=True) for _ in range(2)]
    assert torch.autograd.gradcheck(lambda z, worse: trades_loss(z, worse, y), inputs)


@pytest.mark.parametrize("ball", ["linf", "l2"])
def test_it_finds_predictions_that_differ_more_than_chance_finds(ball: Ball):
    model, (x, _) = convolutional(), batch()
    eps = 8 / 255 if ball == "linf" else 0.4
    found = trades(model, x, eps=eps, ball=ball, random=range(7))
    assert bool((change(found, x, ball) <= eps + 1e-6).all())
    assert 0 <= float(found.min()) <= float(found.max()) <= 1
    chance = x + eps * steepest(torch.randn_like(x), ball)
    own = model(x)
    assert bool((divergence(model(found), own) > 2 * divergence(model(chance), own)).all())


def test_the_start_is_noise_of_a_thousandth():
    model, (x, _) = convolutional(), batch()
    found = trades(model, x, eps=1.0, step=1e-12, steps=1, random=range(7))
    assert_close((found - x).std().item(), 1e-3, rtol=0.1, atol=0)
    assert torch.equal(found, trades(model, x, eps=1.0, step=1e-12, steps=1, random=range(7)))


def test_the_reference_is_another_branch():
    model, (x, _) = network(), batch()
    found = trades(model, x, branch="adv", reference="clean", eps=0.05, random=range(7))
    clean, adv = (renorm.fold(model, name).eval() for name in ("clean", "adv"))
    with torch.no_grad():
        assert bool((divergence(adv(found), clean(x)) > divergence(adv(x), clean(x))).all())
    assert not torch.equal(found, trades(model, x, branch="adv", eps=0.05, random=range(7)))


def test_seeds_are_one_for_each_image():
    with pytest.raises(ValueError, match=r"2 seeds were given for 7 images"):
        trades(convolutional(), batch()[0], random=[1, 2])
