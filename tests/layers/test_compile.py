"""Compiled equals eager, without a graph break, whatever the number of branches and the sizes of blocks."""

import copy
from functools import partial

import pytest
import torch
from torch import nn
from torch._dynamo.backends.registry import lookup_backend
from torch.testing import assert_close

import renorm

BRANCHES = [f"b{k}" for k in range(12)]


class Counting:
    """A backend, counting the graphs it is given. `eager` runs what was traced and saves the time to trace a backward."""

    def __init__(self, backend="aot_eager"):
        self.graphs, self.backend = 0, lookup_backend(backend)

    def __call__(self, graph, inputs):
        self.graphs += 1
        return self.backend(graph, inputs)


@pytest.fixture(autouse=True)
def fresh():
    torch._dynamo.reset()


def specs(kind):
    g = torch.Generator().manual_seed(0)
    return {
        "whole": [(name,) for name in BRANCHES],
        "interleaved": [("b0", "b1"), ("b3", "b2"), ("b5", "b7")],
        "blocks": [({"b0": n, "b4": 12 - n},) for n in (6, 3, 10)] + [({"b0": 2, "b9": 2, "b1": 8},)],
        "labels": [(torch.randint(0, 12, (12,), generator=g),) for _ in range(4)],
        "label": [(torch.tensor(k),) for k in (3, 7, 1, 11)],
    }[kind]


def small():
    net = nn.Sequential(nn.Conv2d(3, 5, 1), nn.BatchNorm2d(5), nn.ReLU(), nn.Conv2d(5, 7, 1), nn.BatchNorm2d(7))
    renorm.split_(net, BRANCHES)
    return net


CONVERSIONS = {
    "split": renorm.split_,
    "statistics": partial(renorm.split_, share="statistics"),
    "affine": partial(renorm.split_, share="affine"),
    "sandwich": partial(renorm.sandwich_, share=()),
    "sandwich of shared statistics": renorm.sandwich_,
}


KINDS = ["whole", "interleaved", "blocks", "labels", "label"]
USUAL = [("split", kind) for kind in KINDS] + [("sandwich of shared statistics", "labels"), ("affine", "blocks")]


@pytest.mark.parametrize(
    ("convert", "kind"),
    [
        pytest.param(
            CONVERSIONS[name], kind, id=f"{name}, {kind}", marks=() if (name, kind) in USUAL else pytest.mark.slow
        )
        for name in CONVERSIONS
        for kind in KINDS
    ],
)
def test_twelve_branches_compile_to_at_most_two_graphs(convert, kind):
    net = nn.Sequential(nn.Conv2d(3, 5, 1), nn.BatchNorm2d(5), nn.ReLU(), nn.Conv2d(5, 7, 1), nn.BatchNorm2d(7))
    convert(net, BRANCHES)
    eager = copy.deepcopy(net)
    for training in (True, False):
        backend = Counting("aot_eager" if kind in ("blocks", "labels") else "eager")
        compiled = torch.compile(net.train(training), backend=backend, fullgraph=True)
        eager.train(training)
        for spec in specs(kind):
            x = torch.randn(12, 3, 7, 5)
            with renorm.route(net, *spec):
                y = compiled(x)
            with renorm.route(eager, *spec):
                want = eager(x)
            assert_close(y, want, rtol=1e-4, atol=1e-5)
            y.square().sum().backward()
            want.square().sum().backward()
        assert 1 <= backend.graphs <= 2
    assert_close(net.state_dict(), eager.state_dict(), rtol=1e-4, atol=1e-5)
    for p, q in zip(net.parameters(), eager.parameters(), strict=True):
        assert_close(p.grad, q.grad, rtol=1e-3, atol=1e-3)


def test_a_network_has_no_graph_break():
    timm = pytest.importorskip("timm")
    net = timm.create_model("test_resnet", num_classes=7)
    renorm.split_(net, ["weak", "strong"])
    eager, backend = copy.deepcopy(net), Counting("eager")
    compiled = torch.compile(net, backend=backend, fullgraph=True)
    x = torch.randn(4, 3, 32, 32)
    with renorm.route(net, "weak", "strong"):
        y = compiled(x)
    with renorm.route(eager, "weak", "strong"):
        assert_close(y, eager(x), rtol=1e-3, atol=1e-4)
    y.sum().backward()
    assert backend.graphs == 1


@pytest.mark.parametrize("kind", KINDS)
def test_batches_of_changing_size(kind):
    net, backend = small(), Counting("eager")
    compiled = torch.compile(net, backend=backend, fullgraph=True)
    for n in (4, 6, 10, 14):
        spec = {
            "whole": ("b1",),
            "interleaved": ("b1", "b0"),
            "blocks": ({"b1": 3, "b2": n - 3},),
            "labels": (torch.arange(n) % 3,),
            "label": (torch.tensor(n - 4),),
        }[kind]
        eager = copy.deepcopy(net)
        x = torch.randn(n, 3, 7, 5)
        with renorm.route(net, *spec):
            y = compiled(x)
        with renorm.route(eager, *spec):
            assert_close(y, eager(x), rtol=1e-4, atol=1e-5)
    assert backend.graphs <= 2


class Clips(nn.Module):
    """A network of one's own, whose norm sees the frames of clips ``(N, T, C, H, W)``."""

    def __init__(self):
        super().__init__()
        self.conv, self.bn = nn.Conv2d(3, 5, 1), renorm.layers.SplitBatchNorm(5, BRANCHES)

    def forward(self, clips):
        clips = clips["video"] if isinstance(clips, dict) else clips
        return self.bn(self.conv(clips.flatten(0, 1)))


@pytest.mark.parametrize("folded", ["sample", "time"])
@pytest.mark.parametrize("kind", ["interleaved", "blocks", "labels"])
def test_frames_of_clips(kind, folded):
    net, backend = Clips(), Counting("eager")
    compiled = torch.compile(net, backend=backend, fullgraph=True)
    for n in (4, 6, 10, 14):
        spec = {"interleaved": ("b1", "b0"), "blocks": ({"b1": 3, "b2": n - 3},), "labels": (torch.arange(n) % 3,)}[
            kind
        ]
        eager, clips = copy.deepcopy(net), torch.randn(n, 3, 3, 7, 5)
        with renorm.route(net, *spec, folded=folded):
            y = compiled(clips)
        with renorm.route(eager, *spec, folded=folded):
            assert_close(y, eager(clips), rtol=1e-4, atol=1e-5)
        assert_close(net.bn.running_mean, eager.bn.running_mean)
    assert backend.graphs <= 2


def test_the_size_of_a_batch_that_is_said():
    net, backend = Clips(), Counting("eager")
    compiled = torch.compile(net, backend=backend, fullgraph=True)
    for n in (4, 6, 10, 14):
        eager, clips = copy.deepcopy(net), {"video": torch.randn(n, 3, 3, 7, 5)}
        spec = (f"b{n // 2}", "b0")
        with renorm.route(net, *spec, folded="sample", size=n):
            y = compiled(clips)
        with renorm.route(eager, *spec, folded="sample", size=n):
            assert_close(y, eager(clips), rtol=1e-4, atol=1e-5)
    assert backend.graphs <= 2


@pytest.mark.parametrize("share", [(), "statistics"])
@pytest.mark.parametrize("training", [True, False])
def test_one_label_by_hand_for_the_batch_is_no_constant(share, training):
    class Conditional(nn.Module):
        def __init__(self):
            super().__init__()
            self.bn = renorm.layers.SplitBatchNorm(3, BRANCHES, share=share)
            nn.init.normal_(self.bn.get_parameter("weight"))

        def forward(self, x, label):
            return self.bn(x, label)

    net, backend = Conditional().train(training), Counting("eager")
    eager, compiled = copy.deepcopy(net), torch.compile(net, backend=backend, fullgraph=True)
    for k in range(12):
        x = torch.randn(4, 3, 7, 5)
        assert_close(compiled(x, torch.tensor(k)), eager(x, torch.tensor(k)), rtol=1e-4, atol=1e-5)
        assert_close(compiled(x, torch.tensor(k)), eager(x, k), rtol=1e-4, atol=1e-5)
    assert_close(net.state_dict(), eager.state_dict(), rtol=1e-4, atol=1e-5)
    assert backend.graphs == 1


def test_inductor():
    from torch._inductor.cpp_builder import get_cpp_compiler

    try:
        get_cpp_compiler()
    except Exception as error:
        pytest.skip(f"inductor needs a C++ compiler: {error}")
    net = small()
    eager = copy.deepcopy(net)
    compiled = torch.compile(net, fullgraph=True)
    x = torch.randn(6, 3, 7, 5)
    spec = {"b1": 2, "b0": 4}
    with renorm.route(net, spec):
        y = compiled(x)
    with renorm.route(eager, spec):
        assert_close(y, eager(x), rtol=1e-4, atol=1e-4)
