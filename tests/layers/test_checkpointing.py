"""Activation checkpointing: a recomputed forward updates nothing and follows the route its forward had."""

import copy
from typing import Any

import pytest
import torch
from torch.testing import assert_close
from torch.utils.checkpoint import checkpoint

import renorm

ROUTES = [("weak",), ("strong", "weak"), ({"weak": 3, "strong": 5},), (torch.tensor([0, 1, 1, 0, 1, 0, 0, 1]),)]


@pytest.fixture(scope="module")
def base():
    torch.manual_seed(0)
    timm = pytest.importorskip("timm")
    net = timm.create_model("resnet18", num_classes=7)
    renorm.split_(net, ["weak", "strong"])
    return net


@pytest.fixture(params=[False, True], ids=["not reentrant", "reentrant"])
def reentrant(request):
    config = pytest.importorskip("timm.layers.config")
    before = config.use_reentrant_ckpt()
    config.set_reentrant_ckpt(request.param)
    yield request.param
    config.set_reentrant_ckpt(before)


def images():
    return torch.randn(8, 3, 32, 32, generator=torch.Generator().manual_seed(1))


def assert_same_step(net, reference):
    assert_close(net.state_dict(), reference.state_dict(), rtol=1e-4, atol=1e-5)
    for (name, p), q in zip(net.named_parameters(), reference.parameters(), strict=True):
        assert_close(p.grad, q.grad, rtol=1e-3, atol=1e-3, msg=lambda text, name=name: f"{name}: {text}")


@pytest.mark.parametrize("use_reentrant", [False, True])
@pytest.mark.parametrize("spec", [*ROUTES, (torch.tensor([0, 1, -1, 0, 1, 0, -1, 1]),)], ids=str)
def test_a_checkpointed_step_of_a_sandwich_equals_the_plain_one(spec, use_reentrant):
    reference = torch.nn.Sequential(torch.nn.Conv2d(3, 5, 3), torch.nn.BatchNorm2d(5), torch.nn.ReLU())
    renorm.sandwich_(reference, ["weak", "strong"])
    net = copy.deepcopy(reference)
    with renorm.route(reference, *spec):
        reference(images()).square().sum().backward()
    with renorm.route(net, *spec):
        checkpoint(net, images().requires_grad_(), use_reentrant=use_reentrant).square().sum().backward()
    assert_same_step(net, reference)


@pytest.mark.usefixtures("reentrant")
@pytest.mark.parametrize("inside", [True, False], ids=["backward inside", "backward outside"])
@pytest.mark.parametrize("spec", ROUTES, ids=str)
def test_a_checkpointed_step_equals_the_plain_one(base, spec, inside):
    reference, net = copy.deepcopy(base), copy.deepcopy(base)
    net.set_grad_checkpointing(True)
    with renorm.route(reference, *spec):
        reference(images()).square().sum().backward()
    with renorm.route(net, *spec):
        loss = net(images()).square().sum()
        if inside:
            loss.backward()
    if not inside:
        loss.backward()
    assert_same_step(net, reference)


@pytest.mark.usefixtures("reentrant")
def test_two_routes_before_one_backward_are_refused_where_they_are_ambiguous(base):
    net = copy.deepcopy(base)
    net.set_grad_checkpointing(True)
    message = r"recomputed by activation checkpointing.*Call backward inside the `with`.*checkpoint_contexts"
    with renorm.route(net, "weak"):
        loss = net(images()).sum()
    with renorm.route(net, "strong"):
        loss = loss + net(images()).sum()
        with pytest.raises(RuntimeError, match=message):
            loss.backward()
    with renorm.route(net, "weak"):  # and the next step is free again
        net(images()).sum().backward()


@pytest.mark.usefixtures("reentrant")
def test_another_open_route_is_refused(base):
    net = copy.deepcopy(base)
    net.set_grad_checkpointing(True)
    with renorm.route(net, "weak"):
        loss = net(images()).sum()
    with pytest.raises(RuntimeError, match="recomputed by activation checkpointing"), renorm.route(net, "strong"):
        loss.backward()


@pytest.mark.usefixtures("reentrant")
def test_two_backwards_inside_their_routes_are_the_plain_gradients(base):
    reference, net = copy.deepcopy(base), copy.deepcopy(base)
    net.set_grad_checkpointing(True)
    for each in (reference, net):
        for branch in ("weak", "strong"):
            with renorm.route(each, branch):
                each(images()).square().sum().backward()
    assert_same_step(net, reference)


def test_checkpoint_contexts_reopen_each_route(base):
    """With its context_fn a checkpoint knows its own route, so one backward may cover several."""
    reference, net = copy.deepcopy(base), copy.deepcopy(base)

    def total(each, run):
        loss = torch.zeros(())
        for branch in ("weak", "strong"):
            with renorm.route(each, branch):
                loss = loss + run(each, images()).square().sum()
        loss.backward()

    total(reference, lambda each, x: each(x))
    contexts = renorm.routing.checkpoint_contexts(net)
    total(net, lambda each, x: checkpoint(each, x, use_reentrant=False, context_fn=contexts))
    assert_same_step(net, reference)


def test_norms_copied_whole_are_not_updated_by_a_recomputation():
    class Own(torch.nn.BatchNorm2d):
        pass

    net: Any = torch.nn.Sequential(torch.nn.Conv2d(3, 5, 1), Own(5))
    renorm.split_(net, ["weak", "strong"])
    with renorm.route(net, "weak", "strong"):
        checkpoint(net, images(), use_reentrant=False).sum().backward()
    assert [net[1].called(k).num_batches_tracked.item() for k in (0, 1)] == [1, 1]
