"""Activation checkpointing: a recomputed forward updates nothing and follows the route its forward had."""

import copy
from typing import Any

import pytest
import torch
from torch.testing import assert_close
from torch.utils.checkpoint import CheckpointError, checkpoint

import renorm

ROUTES = [("weak",), ("strong", "weak"), ({"weak": 3, "strong": 5},), (torch.tensor([0, 1, 1, 0, 1, 0, 0, 1]),)]


@pytest.fixture(scope="module")
def base():
    torch.manual_seed(0)
    timm = pytest.importorskip("timm")
    net = timm.create_model("test_resnet", num_classes=7)
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


def total(net, run):
    """The loss of forwards of several routes, of other batches."""
    loss = torch.zeros(())
    for i, spec in enumerate(ROUTES):
        with renorm.route(net, *spec):
            loss = loss + run(images() + i).square().sum()
    return loss


@pytest.mark.usefixtures("reentrant")
def test_one_backward_of_several_routes_gives_the_plain_gradients(base):
    reference, net = copy.deepcopy(base), copy.deepcopy(base)
    net.set_grad_checkpointing(True)
    total(reference, reference).backward()
    total(net, net).backward()
    assert_same_step(net, reference)


@pytest.mark.parametrize("use_reentrant", [False, True])
def test_a_whole_model_is_recomputed_under_its_own_route(use_reentrant):
    reference = torch.nn.Sequential(torch.nn.Conv2d(3, 5, 3), torch.nn.BatchNorm2d(5), torch.nn.ReLU())
    renorm.split_(reference, ["weak", "strong"])
    net = copy.deepcopy(reference)
    total(reference, reference).backward()
    loss = total(net, lambda x: checkpoint(net, x.requires_grad_(), use_reentrant=use_reentrant))
    with torch.no_grad(), renorm.route(net, "weak"), renorm.frozen_statistics(net):
        net(images())  # neither this one nor the route that is open has a part in it
    with renorm.route(net, "strong"):
        loss.backward()
    assert_same_step(net, reference)


def test_the_newest_route_would_be_the_wrong_one(base, monkeypatch):
    """Meta: a recomputation that follows the newest forward must fail the law above."""
    monkeypatch.setattr(renorm.routing.Forwards, "_found", lambda self: [self._spans[-1].state])
    reference, net = copy.deepcopy(base), copy.deepcopy(base)
    net.set_grad_checkpointing(True)
    total(reference, reference).backward()

    def law():
        total(net, net).backward()
        assert_same_step(net, reference)

    with pytest.raises((AssertionError, CheckpointError)):
        law()


@pytest.mark.usefixtures("reentrant")
def test_gradients_accumulate_over_routes(base):
    reference, net = copy.deepcopy(base), copy.deepcopy(base)
    net.set_grad_checkpointing(True)
    for each in (reference, net):
        for branch in ("weak", "strong"):
            with renorm.route(each, branch):
                each(images()).square().sum().backward()
    assert_same_step(net, reference)


def test_norms_copied_whole_are_not_updated_by_a_recomputation():
    class Own(torch.nn.BatchNorm2d):
        pass

    net: Any = torch.nn.Sequential(torch.nn.Conv2d(3, 5, 1), Own(5))
    renorm.split_(net, ["weak", "strong"])
    with renorm.route(net, "weak", "strong"):
        checkpoint(net, images(), use_reentrant=False).sum().backward()
    assert [net[1].called(k).num_batches_tracked.item() for k in (0, 1)] == [1, 1]
