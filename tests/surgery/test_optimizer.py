from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.distributed.optim import ZeroRedundancyOptimizer
from torch.optim import SGD, Adagrad, AdamW, Optimizer, RMSprop
from torch.testing import assert_close

import renorm
from tests.surgery.zoo import images, small, tensors, twin

BRANCHES = ["weak", "strong"]
OPTIMIZERS: dict[str, Callable[..., Optimizer]] = {
    "SGD": lambda groups: SGD(groups, lr=0.1, momentum=0.9, nesterov=True, weight_decay=0.01),
    "AdamW": lambda groups: AdamW(groups, lr=0.01, weight_decay=0.1, amsgrad=True),
    "RMSprop": lambda groups: RMSprop(groups, lr=0.01, momentum=0.5),
    "Adagrad": lambda groups: Adagrad(groups, lr=0.01),
}


def exactly(a: Any, b: Any) -> None:
    assert_close(a, b, rtol=0, atol=0)


def groups_of(model: nn.Module) -> list[dict[str, Any]]:
    """Two groups, as weight decay rules for one-dimensional parameters make them."""
    flat = [p for p in model.parameters() if p.ndim <= 1]
    return [
        {"params": [p for p in model.parameters() if p.ndim > 1]},
        {"params": flat, "weight_decay": 0.0, "lr": 0.02},
    ]


def step(model: nn.Module, optimizer: Optimizer, x: Tensor, *spec: Any) -> None:
    optimizer.zero_grad()
    if spec:
        with renorm.route(model, *spec):
            model(x).square().sum().backward()
    else:
        model(x).square().sum().backward()
    optimizer.step()


def states(optimizer: Optimizer) -> dict[int, dict[str, Any]]:
    return {
        id(p): {k: v.clone() if isinstance(v, Tensor) else v for k, v in state.items()}
        for p, state in optimizer.state.items()
    }


@pytest.mark.parametrize("make", OPTIMIZERS.values(), ids=OPTIMIZERS)
@pytest.mark.parametrize("steps", [0, 3])
@pytest.mark.parametrize("share", [(), "statistics", "affine"], ids=str)
def test_steps_after_conversion_equal_those_of_the_unconverted_model(make: Any, steps: int, share: Any):
    model, other = small(torch.float64), small(torch.float64)
    x = images().double()
    optimizers = [make(groups_of(m)) for m in (model, other)]
    for _ in range(steps):
        for each, optimizer in zip((model, other), optimizers, strict=True):
            step(each, optimizer, x)
    renorm.split_(model, BRANCHES, share=share, optimizer=optimizers[0])
    for _ in range(3):
        step(model, optimizers[0], x, "strong")
        step(other, optimizers[1], x)
    assert_close(tensors(renorm.fold(model, "strong")), tensors(other))


@pytest.mark.parametrize("make", OPTIMIZERS.values(), ids=OPTIMIZERS)
def test_the_law_catches_an_optimizer_that_was_not_carried_or_lost_its_state(make: Any):
    x = images().double()
    for carried in (False, True):
        model, other = small(torch.float64), small(torch.float64)
        optimizers = [make(groups_of(m)) for m in (model, other)]
        for each, optimizer in zip((model, other), optimizers, strict=True):
            step(each, optimizer, x)
        renorm.split_(model, BRANCHES, optimizer=optimizers[0] if carried else None)
        if carried:
            for value in [v for p, state in optimizers[0].state.items() if p.ndim == 1 for v in state.values()]:
                value.zero_()
        step(model, optimizers[0], x, "strong")
        step(other, optimizers[1], x)
        with pytest.raises(AssertionError):
            assert_close(tensors(renorm.fold(model, "strong")), tensors(other))


def test_groups_keep_their_order_options_and_other_parameters():
    model = small()
    optimizer = AdamW(groups_of(model), lr=0.01)
    names = {id(p): name for name, p in model.named_parameters()}
    before = [[names[id(p)] for p in group["params"]] for group in optimizer.param_groups]
    options = [{k: v for k, v in group.items() if k != "params"} for group in optimizer.param_groups]
    renorm.split_(model, BRANCHES, optimizer=optimizer)
    names = {id(p): name for name, p in model.named_parameters()}
    assert [[names[id(p)] for p in group["params"]] for group in optimizer.param_groups] == before
    assert [{k: v for k, v in group.items() if k != "params"} for group in optimizer.param_groups] == options
    assert len(names) == sum(len(group["params"]) for group in optimizer.param_groups)


def test_parameters_the_optimizer_never_held_stay_out_of_it():
    model: Any = small()
    optimizer = SGD([model[0].weight, model[1].weight], lr=0.1)
    renorm.split_(model, BRANCHES, optimizer=optimizer)
    (group,) = optimizer.param_groups
    assert [id(p) for p in group["params"]] == [id(model[0].weight), id(model[1].weight)]


def test_another_models_optimizer_is_refused_and_nothing_changes():
    model = small()
    optimizer = SGD(small().parameters(), lr=0.1)
    modules = [id(m) for m in model.modules()]
    message = r"optimizer= holds none of the parameters.*the one that trains this model. Pass that optimizer, or none"
    with pytest.raises(ValueError, match=message):
        renorm.split_(model, BRANCHES, optimizer=optimizer)
    assert [id(m) for m in model.modules()] == modules
    renorm.split_(model, BRANCHES)
    with pytest.raises(ValueError, match=message):
        renorm.add_branch_(model, "clean", like="weak", optimizer=optimizer)
    with renorm.route(model, "weak", "strong"):
        model(images())
    assert renorm.routing.routes_of(model)[0].branches == ("weak", "strong")


@pytest.mark.parametrize("make", OPTIMIZERS.values(), ids=OPTIMIZERS)
def test_undo_gives_the_optimizer_its_parameters_and_state_back(make: Any):
    model, x = small(torch.float64), images().double()
    optimizer = make(groups_of(model))
    step(model, optimizer, x)
    other = twin((model, optimizer))
    before, saved = [[id(p) for p in g["params"]] for g in optimizer.param_groups], states(optimizer)
    report = renorm.split_(model, BRANCHES, optimizer=optimizer)
    assert {id(p) for p in optimizer.state} == {id(p) for p in model.parameters()}
    report.undo()
    assert [[id(p) for p in g["params"]] for g in optimizer.param_groups] == before
    exactly(states(optimizer), saved)
    step(model, optimizer, x)
    step(*other, x)
    exactly(tensors(model), tensors(other[0]))


@pytest.mark.parametrize("make", OPTIMIZERS.values(), ids=OPTIMIZERS)
def test_undo_after_training_keeps_the_branchs_momentum(make: Any):
    model, other, x = small(torch.float64), small(torch.float64), images().double()
    optimizers = [make(groups_of(m)) for m in (model, other)]
    report = renorm.split_(model, BRANCHES, optimizer=optimizers[0])
    step(model, optimizers[0], x, "strong")
    step(other, optimizers[1], x)
    report.undo(keep="strong")
    step(model, optimizers[0], x)
    step(other, optimizers[1], x)
    assert_close(tensors(model), tensors(other))


@pytest.mark.parametrize("make", OPTIMIZERS.values(), ids=OPTIMIZERS)
def test_an_added_branch_takes_over_the_momentum_of_the_one_it_is_like(make: Any):
    model, other, x = small(torch.float64), small(torch.float64), images().double()
    optimizers = [make(groups_of(m)) for m in (model, other)]
    renorm.split_(model, BRANCHES, optimizer=optimizers[0])
    step(model, optimizers[0], x, "strong")
    step(other, optimizers[1], x)
    added = renorm.add_branch_(model, "clean", like="strong", optimizer=optimizers[0])
    step(model, optimizers[0], x, "clean")
    step(other, optimizers[1], x)
    assert_close(tensors(renorm.fold(model, "clean")), tensors(other))
    added.undo()
    step(model, optimizers[0], x, "weak")
    shapes = {p.shape for p in optimizers[0].state if p.ndim == 1}
    assert shapes == {p.shape for p in model.parameters() if p.ndim == 1}


def test_a_state_dict_of_the_optimizer_still_loads():
    model, x = small(torch.float64), images().double()
    optimizer = OPTIMIZERS["AdamW"](groups_of(model))
    step(model, optimizer, x)
    renorm.split_(model, BRANCHES, optimizer=optimizer)
    fresh = OPTIMIZERS["AdamW"](groups_of(model))
    fresh.load_state_dict(optimizer.state_dict())
    exactly(states(fresh), states(optimizer))


def other_list(groups: Any) -> Optimizer:
    optimizer: Any = SGD(groups, lr=0.1)
    optimizer.averaged = {"of": [p for group in optimizer.param_groups for p in group["params"]]}
    return optimizer


class Around(Optimizer):
    """An optimizer around another, which has the same groups, as lookahead and sharpness-aware ones do."""

    def __init__(self, inner: Optimizer) -> None:
        super().__init__(inner.param_groups, {})
        self.inner, self.param_groups, self.state = inner, inner.param_groups, inner.state

    def step(self, closure: Any = None) -> Any:
        return self.inner.step(closure)


class Apart(Around):
    """One that has groups of its own."""

    def __init__(self, inner: Optimizer) -> None:
        super().__init__(inner)
        self.param_groups = [dict(group) for group in inner.param_groups]


KEEPING: dict[str, tuple[Callable[..., Optimizer], str]] = {
    "LBFGS": (lambda groups: torch.optim.LBFGS(groups, max_iter=2), "_params"),
    "a dict of lists": (other_list, "averaged"),
    "an inner optimizer with other groups": (lambda groups: Apart(SGD(groups, lr=0.1)), "inner"),
}


@pytest.mark.parametrize("verb", ["split_", "sandwich_", "add_branch_"])
@pytest.mark.parametrize(("make", "key"), KEEPING.values(), ids=KEEPING)
def test_an_optimizer_with_a_second_list_of_parameters_is_refused(make: Any, key: str, verb: str):
    model = small()
    if verb == "add_branch_":
        renorm.split_(model, BRANCHES)
    verbs: dict[str, Any] = {
        "split_": partial(renorm.split_, branches=BRANCHES),
        "sandwich_": partial(renorm.sandwich_, branches=BRANCHES),
        "add_branch_": partial(renorm.add_branch_, branch="clean", like="weak"),
    }
    optimizer, before = make(list(model.parameters())), list(model.modules())
    parameters = [id(p) for p in model.parameters()]
    with pytest.raises(
        ValueError, match=rf"keeps parameters in a list of its own \('{key}'\).* build it after the conversion"
    ):
        verbs[verb](model, optimizer=optimizer)
    assert list(model.modules()) == before
    assert [id(p) for p in model.parameters()] == parameters
    assert [id(p) for group in optimizer.param_groups for p in group["params"]] == parameters


def test_redundancy_free_optimizers_are_refused(tmp_path: Any):
    dist: Any = torch.distributed
    dist.init_process_group("gloo", store=dist.FileStore(str(tmp_path / "store"), 1), rank=0, world_size=1)
    try:
        model = small()
        optimizer = ZeroRedundancyOptimizer(model.parameters(), SGD, lr=0.1)
        with pytest.raises(ValueError, match=r"ZeroRedundancyOptimizer keeps parameters in a list of its own"):
            renorm.split_(model, BRANCHES, optimizer=optimizer)
    finally:
        dist.destroy_process_group()


def of_timm(groups: Any) -> Optimizer:
    return pytest.importorskip("timm.optim").Lookahead(SGD(groups, lr=0.1))


def of_accelerate(groups: Any) -> Optimizer:
    return pytest.importorskip("accelerate").Accelerator(cpu=True).prepare(SGD(groups, lr=0.1))


def schedule_free(groups: Any) -> Optimizer:
    return pytest.importorskip("schedulefree", reason="needs schedulefree").SGDScheduleFree(groups, lr=0.1)


@pytest.mark.parametrize("make", [lambda groups: Around(SGD(groups, lr=0.1)), of_timm, of_accelerate, schedule_free])
def test_optimizers_around_others_train_the_new_affines(make: Any):
    model: Any = small()
    optimizer: Any = make(list(model.parameters()))
    getattr(optimizer, "train", lambda: None)()
    step(model, optimizer, images())
    renorm.split_(model, BRANCHES, optimizer=optimizer)
    before = model[1].weight.detach().clone()
    step(model, optimizer, images(), *BRANCHES)
    assert ((model[1].weight - before).view(2, -1).abs().sum(1) > 0).all()
