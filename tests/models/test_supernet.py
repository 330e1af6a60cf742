"""The supernet of NAS-Bench-201 against the authors' numbers, and its paths against the networks that they are."""

from __future__ import annotations

from copy import deepcopy
from typing import Any, ClassVar

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.testing import assert_close
from torch.utils._python_dispatch import TorchDispatchMode

import renorm
from renorm.layers import Site
from renorm.models import Cell, CellNetwork, Supernet, create, supernet
from renorm.models.supernet import NORMS, MixedCell

PATH = Cell.parse("|nor_conv_3x3~0|+|skip_connect~0|nor_conv_3x3~1|+|nor_conv_1x1~0|avg_pool_3x3~1|nor_conv_3x3~2|")
ALL_3X3 = Cell(("nor_conv_3x3",) * 6)


def net_of(norm: str, **options: Any) -> Supernet:
    return Supernet(10, width=4, cells=1, norm=norm, generator=torch.Generator().manual_seed(0), **options)


def fill(like: Tensor, a: float, b: float) -> Tensor:
    return a + b * torch.arange(like.numel(), dtype=torch.float64).sin().view(like.shape)


def fill_(module: Any) -> None:
    if issubclass(type(module), (nn.Conv2d, nn.Linear)):
        module.weight.copy_(fill(module.weight, 0, 1) / module.weight[0].numel() ** 0.5)
    own, site = "branch_" if hasattr(module, "branch_weight") else "", issubclass(type(module), Site)
    if own or (not site and getattr(module, "affine", False)):
        module.weight.copy_(fill(module.weight, 1, 0.3))
    if (own or not site) and module._parameters.get("bias") is not None:
        module.bias.copy_(fill(module.bias, 0.1, 0.2))
    if site:
        table = fill(torch.empty(len(module.branches), 2 * module.num_features), 0, 0.5)
        table[:, : module.num_features] += 1
        for name, values in zip(("weight", "bias"), table.chunk(2, 1), strict=True):
            getattr(module, own + name).copy_(values.reshape(-1))


@torch.no_grad()
def filled(net: Supernet) -> Supernet:
    """Values that depend on nothing but the place in a tensor; tables of conditions are scales beside biases."""
    for module in net.double().modules():
        fill_(module)
    net.alpha.copy_(fill(net.alpha, 0, 0.5))
    return net


@pytest.mark.parametrize(
    ("norm", "total", "first", "last", "loss", "of_alpha", "of_weights", "path"),
    [
        ("affine-free", 7.896944, 0.730003, 0.927344, 2.379893, 0.730016, 13.052827, 2.457615),
        ("affine", 7.935045, 0.968317, 0.736415, 2.382100, 0.194095, 9.352642, 2.418140),
        ("conditional", 7.892898, 0.900836, 0.745191, 2.310584, 0.239950, 9.162417, 2.583515),
        ("sandwich", 7.808444, 0.740215, 1.043034, 2.375561, 0.272264, 6.716986, 2.451659),
    ],
)
def test_logits_loss_and_gradients_are_the_authors(norm, total, first, last, loss, of_alpha, of_weights, path):
    net = filled(net_of(norm))
    x, labels = fill(torch.empty(4, 3, 8, 8), 0, 1), torch.arange(4)
    logits = net(x, net.alpha.detach().argmax(1).expand(3, -1))
    found = cross_entropy(logits, labels)
    found.backward()
    assert net.alpha.grad is not None
    weights = torch.stack([p.grad.square().sum() for p in net.weights() if p.grad is not None]).sum().sqrt()
    got = (logits.sum(), logits[0, 0], logits[-1, -1], found, net.alpha.grad.norm(), weights)
    expected = (total, first, last, loss, of_alpha, of_weights)
    assert_close(torch.stack(got), torch.tensor(expected, dtype=torch.float64), rtol=0, atol=6e-7)
    assert cross_entropy(net(x, PATH), labels).item() == pytest.approx(path, abs=6e-7)


@pytest.mark.parametrize(
    ("norm", "full", "small"),
    [
        ("affine-free", 1_686_106, 25_054),
        ("affine", 1_699_546, 25_726),
        ("conditional", 1_771_226, 29_310),
        ("sandwich", 1_784_666, 29_982),
    ],
)
def test_supernets_have_the_authors_parameters(norm: str, full: int, small: int):
    count = lambda net: sum(p.numel() for p in net.weights())  # noqa: E731
    assert (count(Supernet(10, norm=norm)), count(net_of(norm))) == (full, small)


def test_a_supernet_is_made_by_its_sizes_in_order_and_folds_a_string():
    net = supernet(7, 4, 1, norm="sandwich")
    assert net.sizes == {"width": 4, "cells": 1, "in_channels": 3}
    assert net.fold(str(PATH), statistics=False).linear.out_features == 7


@pytest.mark.parametrize(
    ("cell", "classes", "expected"),
    [
        (
            "|avg_pool_3x3~0|+|nor_conv_1x1~0|skip_connect~1|+|nor_conv_1x1~0|skip_connect~1|skip_connect~2|",
            10,
            129_306,
        ),
        (
            "|avg_pool_3x3~0|+|nor_conv_1x1~0|skip_connect~1|+|nor_conv_1x1~0|skip_connect~1|skip_connect~2|",
            100,
            135_156,
        ),
        ("|nor_conv_3x3~0|+|nor_conv_3x3~0|avg_pool_3x3~1|+|none~0|nor_conv_3x3~1|avg_pool_3x3~2|", 10, 802_426),
        ("|skip_connect~0|+|skip_connect~0|skip_connect~1|+|none~0|nor_conv_1x1~1|none~2|", 10, 101_306),
    ],
)
def test_networks_of_a_cell_have_the_benchmarks_parameters(cell: str, classes: int, expected: int):
    assert sum(p.numel() for p in create(f"cell:{cell}", num_classes=classes).parameters()) == expected


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("cell", [PATH, ALL_3X3, Cell.parse(str(Cell(("none", "skip_connect", "none") * 2)))])
def test_a_path_is_the_network_of_its_cell(norm: str, cell: Cell):
    net = filled(net_of(norm))
    x = torch.randn(4, 3, 8, 8, dtype=torch.float64)
    plain = net.fold(cell, statistics=False)
    assert isinstance(plain, CellNetwork)
    assert not any(isinstance(module, Site) for module in plain.modules())
    assert_close(plain.train()(x), net.train()(x, cell))


@pytest.mark.parametrize(
    ("norm", "statistics"),
    [("affine", "shared"), ("conditional", "shared"), ("conditional", "condition"), ("sandwich", "condition")],
)
def test_folding_takes_the_running_statistics_of_the_path_and_leaves_the_supernet(norm: str, statistics: str):
    net = net_of(norm, statistics=statistics)
    for _ in range(3):
        net(torch.randn(8, 3, 8, 8), PATH)
    before = {key: value.clone() for key, value in net.state_dict().items()}
    x = torch.randn(4, 3, 8, 8)
    plain = net.eval().fold(PATH)
    assert not plain.training
    assert_close(plain(x), net(x, PATH))
    renorm.recalibrate_(plain, [x, x])
    for key, value in net.state_dict().items():
        assert torch.equal(value, before[key]), key


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("changed", ["hook", "class", "tracked"])
def test_operations_side_by_side_are_the_operations_one_by_one(norm: str, changed: str):
    net, x = filled(net_of(norm)), fill(torch.empty(4, 3, 8, 8), 0, 1)
    if changed == "tracked":
        other = filled(net_of(norm, statistics="shared"))
    else:
        other = deepcopy(net)
        for cell in (each for each in other.stages if isinstance(each, MixedCell)):
            if changed == "hook":
                cell.convs["0_1x1"].register_forward_hook(lambda *_: seen.append(1))
            else:
                cell.convs["0_1x1"].__class__ = Convolution
    seen = Convolution.seen = []
    draw, found = net.draw(torch.Generator().manual_seed(0)), []
    for each in (net, other):
        y = each(x, draw)
        found.append([y, *torch.autograd.grad(y.square().sum(), list(each.parameters()), allow_unused=True)])
    assert len(seen) == (0 if changed == "tracked" else 3)  # what somebody asks for is called
    for mine, theirs in zip(*found, strict=True):
        assert_close(mine, theirs, rtol=1e-9, atol=1e-11)


class Convolution(nn.Conv2d):
    seen: ClassVar[list[int]] = []

    def forward(self, input: Tensor) -> Tensor:
        self.seen.append(1)
        return super().forward(input)


def test_a_forward_waits_for_its_draw_once_however_many_sites_there_are():
    waits = []
    for cells in (1, 2):
        net = Supernet(10, width=1, cells=cells, norm="sandwich")
        draw = net.draw()
        with Waits() as counted:
            net(torch.randn(2, 3, 8, 8), draw)
        waits.append(counted.number)
    assert waits[0] == waits[1]


class Waits(TorchDispatchMode):
    """Counts how often a number of a tensor is read, for which a device would have to be waited for."""

    number = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.number += func is torch.ops.aten._local_scalar_dense.default
        return func(*args, **(kwargs or {}))


def test_waiting_is_seen():
    with Waits() as counted:
        int(torch.ones(()))
    assert counted.number == 1


def test_what_no_image_has_passed_is_not_folded():
    net = net_of("sandwich", statistics="condition")
    net(torch.randn(4, 3, 8, 8), PATH)
    with pytest.raises(ValueError, match=r"no image has passed the norm 1_3x3, condition 0 of .*statistics=False"):
        net.fold(ALL_3X3)
    with pytest.raises(ValueError, match=r"has no running statistics.*recalibrate_"):
        net_of("affine").fold(PATH)


def test_a_mixture_is_repeated_by_its_draw_and_evaluates_by_the_largest_weights():
    net, x = net_of("conditional"), torch.randn(4, 3, 8, 8)
    filled(net).float()
    one, other = (net.draw(torch.Generator().manual_seed(seed)) for seed in (1, 2))
    assert torch.equal(one, net.draw(torch.Generator().manual_seed(1)))
    assert torch.equal(net(x, one), net(x, one))
    assert not torch.equal(net(x, one), net(x, other))
    assert net.found == Cell.numbered([2, 3, 4, 0, 0, 2])
    largest = torch.tensor(net.found.numbers).expand(3, -1)
    assert torch.equal(net.eval()(x), net(x, largest))
    with pytest.raises(ValueError, match=r"in training without a draw.*net.draw"):
        net.train()(x)
    with pytest.raises(ValueError, match=r"a draw of shape \(2, 6\).*needs \(3, 6\)"):
        net(x, largest[:2])


def test_each_cell_draws_for_itself_from_the_weights():
    net = Supernet(10, width=1, cells=60, norm="affine")
    with torch.no_grad():
        net.alpha.copy_(fill(net.alpha, 0, 1))
    drawn = net.draw(torch.Generator().manual_seed(0))
    shares = torch.nn.functional.one_hot(drawn, 5).double().mean(0)
    assert_close(shares, net.alpha.detach().double().softmax(1), rtol=0, atol=0.12)
    assert len(drawn.unique(dim=0)) > 60


def test_nothing_is_left_out_where_a_number_would_be_nan():
    net = net_of("affine")
    x = torch.full((2, 3, 8, 8), torch.inf)
    assert net.fold(Cell(("none",) * 6), statistics=False).eval().stages[0](x[:, :1]).isfinite().all()
    with torch.no_grad():
        net.alpha[:, 1:] = -torch.inf
    mixed: Any = net.stages[0]
    y = mixed(torch.randn(2, 4, 8, 8), net.alpha.softmax(1), None)
    assert torch.equal(y, torch.zeros_like(y))  # the weight of none stays in the softmax


def test_a_branch_by_name_is_refused_where_the_network_gives_its_own():
    net = net_of("conditional", statistics="condition")
    x = torch.randn(4, 3, 8, 8)
    with pytest.raises(ValueError, match="given its labels by the model itself"):
        renorm.measure(net, [x], branch="0", forward=lambda model, batch: model(batch, PATH))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"norm": "batch"}, "one of affine-free, affine, conditional, sandwich"),
        ({"statistics": "condition"}, "have no conditions.*'conditional' or 'sandwich'"),
        ({"width": 0}, "at least 1"),
    ],
)
def test_what_is_no_supernet_is_refused(options: dict[str, Any], message: str):
    with pytest.raises(ValueError, match=message):
        Supernet(10, **options)
    with pytest.raises(ValueError, match="multiples of 4"):
        net_of("affine")(torch.randn(2, 3, 10, 10))


@pytest.mark.slow
def test_compiled_code_does_not_know_the_conditions():
    net = net_of("sandwich")
    graphs = []

    def count(graph: torch.fx.GraphModule, inputs: list[Tensor]) -> Any:
        graphs.append(graph)
        return graph.forward

    compiled = torch.compile(net, backend=count, fullgraph=True)
    x = torch.randn(2, 3, 8, 8)
    for seed in range(4):
        drawn = net.draw(torch.Generator().manual_seed(seed))
        assert_close(compiled(x, drawn), net(x, drawn))
    assert len(graphs) == 1
