"""Branched layers against slow float64 loops, and the laws that all of them obey."""

import copy
import io
import pickle
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.testing import assert_close

import renorm
from renorm.functional import passes
from renorm.layers import SandwichBatchNorm, SplitBatchNorm
from tests.oracles.norm import branch_norm
from tests.oracles.sandwich import sandwich_norm

BRANCHES = ["a", "b", "c"]
ROUTES = {
    "whole": (("b",), [1] * 6),
    "interleaved": (("a", "b", "c"), [0, 1, 2, 0, 1, 2]),
    "another order": (("c", "a"), [2, 0, 2, 0, 2, 0]),
    "blocks": (({"b": 2, "a": 4},), [1, 1, 0, 0, 0, 0]),
    "an empty block": (({"b": 1, "a": 0, "c": 5},), [1, 2, 2, 2, 2, 2]),
    "labels": ((torch.tensor([0, 2, 2, 1, 0, 0]),), [0, 2, 2, 1, 0, 0]),
}
SHARES = [(), "statistics", "affine", ("statistics", "affine")]
SANDWICH, SANDWICHES = (
    "sandwich",
    ["sandwich", "sandwich of shared statistics"],
)  # what stands for a share, but is a class
KINDS = [*SHARES, *SANDWICHES]
FORMATS = {2: [torch.contiguous_format, torch.channels_last], 3: [torch.contiguous_format, torch.channels_last_3d]}


@pytest.fixture(params=["native kernels", "own passes"])
def either_side(request, monkeypatch):
    """Both sides of the size below which the native kernel is used."""
    monkeypatch.setattr(passes, "FEWEST", 0 if request.param == "own passes" else 10**9)


def make(share: Any = (), channels: int = 5, **options: Any) -> Any:
    if share in SANDWICHES:
        return SandwichBatchNorm(channels, BRANCHES, share=() if share == SANDWICH else "statistics", **options)
    return SplitBatchNorm(channels, BRANCHES, share=share, **options)


def layer(share: Any = (), dtype=torch.float32, channels=5, **options) -> Any:
    norm = make(share, channels, dtype=dtype, **options)
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for tensor in norm.parameters():
            tensor.copy_(torch.randn(tensor.shape, generator=generator, dtype=torch.float64))
    return norm


def features(*shape, dtype=torch.float32, memory_format=torch.contiguous_format, offset=3.0) -> Any:
    x = torch.randn(shape, generator=torch.Generator().manual_seed(2), dtype=torch.float64) + offset
    return x.to(dtype).contiguous(memory_format=memory_format)


def expected(norm, x, samples, given=None):
    """y, and the populations' moments, by the oracle; differentiable in float64 copies of x and the parameters."""
    population = [0] * len(samples) if "statistics" in norm.share else samples
    row = [0] * len(samples) if "affine" in norm.share else samples
    x64, *leaves = (t.detach().double().requires_grad_() for t in (x, *norm.parameters()))
    tables = [t.view(-1, norm.num_features) for t in leaves]
    if isinstance(norm, SandwichBatchNorm):
        shared, own = (tables[0][0], tables[1][0]), tables[2:]
        y, found = sandwich_norm(x64, population, samples, shared, own, norm.eps, given)
    else:
        y, found = branch_norm(x64, population, row, tables[0], tables[1], norm.eps, given)
    return y, found, (x64, *leaves)


@pytest.mark.usefixtures("either_side")
@pytest.mark.parametrize("share", KINDS, ids=str)
@pytest.mark.parametrize("name", ROUTES)
@pytest.mark.parametrize("shape", [(6, 5, 7, 3), (6, 5, 11), (6, 5, 2, 3, 7)], ids=str)
def test_training_equals_the_loop(shape, name, share):
    spec, samples = ROUTES[name]
    for memory_format in (
        FORMATS.get(len(shape) - 2, [torch.contiguous_format]) if len(shape) == 4 else [torch.contiguous_format]
    ):
        norm, x = layer(share), features(*shape, memory_format=memory_format).requires_grad_()
        with renorm.route(norm, *spec):
            y = norm(x)
        g = torch.randn(y.shape, generator=torch.Generator().manual_seed(3))
        y.backward(g)
        want, found, leaves = expected(norm, x, samples)
        want.backward(g.double())
        assert_close(y.double(), want.detach(), rtol=1e-4, atol=1e-5)
        for own, leaf in zip((x, *norm.parameters()), leaves, strict=True):
            assert_close(own.grad.to(leaf.grad), leaf.grad, rtol=1e-4, atol=1e-4)
        assert y.stride() == x.stride()
        means, variances = norm.running_mean.view(-1, 5), norm.running_var.view(-1, 5)
        for k in range(norm.num_populations):
            mean, var, count = found.get(k, (torch.zeros(5), torch.ones(5), 0))
            moved = (0.1 * mean, 0.9 + 0.1 * var * count / (count - 1)) if count else (mean, var)
            assert_close(means[k].double(), moved[0].detach().double(), rtol=1e-5, atol=1e-6)
            assert_close(variances[k].double(), moved[1].detach().double(), rtol=1e-5, atol=1e-6)
            assert norm.num_batches_tracked[k] == (count > 0)


@pytest.mark.usefixtures("either_side")
@pytest.mark.parametrize("share", KINDS, ids=str)
@pytest.mark.parametrize("name", ROUTES)
def test_evaluation_equals_the_loop(name, share):
    spec, samples = ROUTES[name]
    for memory_format in FORMATS[2]:
        norm, x = layer(share), features(6, 5, 7, 3, memory_format=memory_format)
        with torch.no_grad():
            norm.running_mean.copy_(torch.linspace(-1, 4, norm.running_mean.numel()))
            norm.running_var.copy_(torch.linspace(0.5, 3, norm.running_var.numel()))
        means, variances = norm.running_mean.view(-1, 5).double(), norm.running_var.view(-1, 5).double()
        before = copy.deepcopy(norm.state_dict())
        with renorm.route(norm.eval(), *spec):
            y = norm(x)
        want, _, _ = expected(norm, x, samples, dict(enumerate(zip(means, variances, strict=True))))
        assert_close(y.double(), want.detach(), rtol=1e-5, atol=1e-5)
        assert y.stride() == x.stride()
        assert_close(norm.state_dict(), before, rtol=0, atol=0)


@pytest.mark.usefixtures("either_side")
@pytest.mark.parametrize("memory_format", FORMATS[2], ids=str)
@pytest.mark.parametrize(
    ("name", "share"),
    [*((name, ()) for name in ROUTES), *((name, SANDWICHES[1]) for name in ("whole", "interleaved", "labels"))],
    ids=str,
)
def test_first_and_second_derivatives(name, share, memory_format):
    spec, _ = ROUTES[name]
    norm = layer(share, dtype=torch.float64, channels=2).requires_grad_()
    x = features(6, 2, 3, 2, dtype=torch.float64, memory_format=memory_format).requires_grad_()

    own = {key: p.detach().clone().requires_grad_() for key, p in norm.named_parameters()}

    def run(x, *values):
        with renorm.frozen_statistics(norm), renorm.route(norm, *spec):
            return torch.func.functional_call(norm, dict(zip(own, values, strict=True)), x)

    fast = memory_format == torch.channels_last  # along random directions, as the second ones
    assert torch.autograd.gradcheck(run, (x, *own.values()), fast_mode=fast)
    assert torch.autograd.gradgradcheck(run, (x, *own.values()), fast_mode=True)


@pytest.mark.usefixtures("either_side")
@pytest.mark.parametrize("offset", [0, 100, 1000])
@pytest.mark.parametrize("share", [(), SANDWICHES[1]], ids=str)
@pytest.mark.parametrize("name", ROUTES)
def test_large_means_do_not_cancel(name, share, offset):
    """As exact as PyTorch's own norm, up to the rounding of the input itself."""
    spec, samples = ROUTES[name]
    for memory_format in FORMATS[2]:
        norm, x = layer(share), features(6, 5, 11, 13, offset=offset, memory_format=memory_format).requires_grad_()
        with renorm.route(norm, *spec):
            y = norm(x)
        g = torch.randn(y.shape, generator=torch.Generator().manual_seed(3))
        y.backward(g)
        want, _, (x64, *_) = expected(norm, x, samples)
        want.backward(g.double())
        tolerance = 1e-5 + 1e-6 * offset
        assert_close(y.double(), want.detach(), rtol=0, atol=10 * tolerance)
        assert_close(x.grad.to(x64.grad), x64.grad, rtol=0, atol=10 * tolerance)


@pytest.mark.usefixtures("either_side")
@pytest.mark.parametrize("share", [(), SANDWICH], ids=str)
@pytest.mark.parametrize("momentum", [0.1, 0.3, None])
@pytest.mark.parametrize(
    ("plain", "shape"), [(nn.BatchNorm1d, (7, 5)), (nn.BatchNorm2d, (7, 5, 2, 3)), (nn.BatchNorm3d, (7, 5, 2, 3, 2))]
)
def test_reduces_to_batch_norm(plain, shape, momentum, share):
    """One branch is PyTorch's norm, and so is each of several under its own route."""
    norms = {name: plain(5, momentum=momentum) for name in BRANCHES}
    split = make(share, momentum=momentum)
    for step in range(4):
        for name in BRANCHES[: 1 + step % 3]:
            x = features(*shape, offset=step)
            with renorm.route(split, name):
                assert_close(split(x), norms[name](x), rtol=1e-5, atol=1e-5)
    for k, norm in enumerate(norms.values()):
        assert_close(split.running_mean.view(3, 5)[k], norm.running_mean, rtol=1e-5, atol=1e-6)
        assert_close(split.running_var.view(3, 5)[k], norm.running_var, rtol=1e-5, atol=1e-6)
        assert split.num_batches_tracked[k] == norm.num_batches_tracked
        x = features(*shape)
        with renorm.route(split.eval(), BRANCHES[k]):
            assert_close(split(x), norm.eval()(x), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("share", [(), *SANDWICHES], ids=str)
@settings(max_examples=25, deadline=None)
@given(st.lists(st.integers(0, 2), min_size=2, max_size=12), st.booleans())
def test_labels_interleaving_and_blocks_agree(share, labels, own):
    """A route is only a partition: sorting samples into blocks gives the same outputs and statistics."""
    counts = [labels.count(k) for k in range(3)]
    few, passes.FEWEST = passes.FEWEST, 0 if own else 10**9
    try:
        by_label, by_block = layer(share), layer(share)
        x = features(len(labels), 5, 2, 3)
        order = torch.tensor(labels).argsort(stable=True)
        with renorm.route(by_label, torch.tensor(labels)):
            first = by_label(x)
        with renorm.route(by_block, dict(zip(BRANCHES, counts, strict=True))):
            second = by_block(x[order])
    finally:
        passes.FEWEST = few
    assert_close(first[order], second, rtol=1e-4, atol=1e-5)
    assert_close(by_label.state_dict(), by_block.state_dict(), rtol=1e-5, atol=1e-6)


@pytest.mark.usefixtures("either_side")
@pytest.mark.parametrize("share", [(), *SANDWICHES], ids=str)
@pytest.mark.parametrize("name", ROUTES)
def test_half_in_half_out_with_statistics_in_float32(name, share):
    spec, _ = ROUTES[name]
    norm, exact = layer(share), layer(share)
    x = features(6, 5, 7, 3)
    for training in (True, False):
        norm.train(training)
        exact.train(training)
        with renorm.route(norm, *spec):
            y = norm(x.bfloat16())
        with renorm.route(exact, *spec):
            want = exact(x.bfloat16().float())
        assert y.dtype == torch.bfloat16
        assert_close(y.float(), want, rtol=2e-2, atol=3e-2)
    assert norm.running_mean.dtype == torch.float32
    assert_close(norm.running_var, exact.running_var, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("share", [(), *SANDWICHES], ids=str)
@pytest.mark.parametrize("name", ROUTES)
def test_autocast(name, share):
    spec, _ = ROUTES[name]
    model: Any = nn.Sequential(nn.Conv2d(3, 5, 1), layer(share), nn.Conv2d(5, 2, 1))
    with torch.autocast("cpu", torch.bfloat16), renorm.route(model, *spec):
        y = model(features(6, 3, 7, 5))
    assert y.dtype == torch.bfloat16
    y.float().sum().backward()
    assert {p.grad.dtype for p in model[1].parameters()} == {torch.float32}


def test_absent_branches_do_not_move_and_get_zero_gradients():
    norm = layer()
    before = copy.deepcopy(norm.state_dict())
    with renorm.route(norm, "b"):
        norm(features(6, 5, 2, 3)).square().sum().backward()
    for key, value in norm.state_dict().items():
        was, now = before[key].view(3, -1), value.view(3, -1)
        assert_close(now[[0, 2]], was[[0, 2]], rtol=0, atol=0)
        if "running" in key:
            assert not torch.equal(now[1], was[1])
    assert norm.weight.grad.view(3, 5)[[0, 2]].abs().sum() == 0
    assert norm.weight.grad.view(3, 5)[1].abs().sum() > 0


@pytest.mark.parametrize("share", [(), SANDWICH], ids=str)
@pytest.mark.parametrize("spec", [("a",), ("a", "b"), ({"a": 1, "b": 3},)], ids=str)
def test_one_value_per_channel_is_refused(spec, share):
    norm = layer(share)
    x = features({1: 1, 2: 2}[len(spec)] if not isinstance(spec[0], dict) else 4, 5, 1, 1)
    before = copy.deepcopy(norm.state_dict())
    with pytest.raises(ValueError, match=r"1 value per channel.*more than one.*drop_last"), renorm.route(norm, *spec):
        norm(x)
    assert_close(norm.state_dict(), before, rtol=0, atol=0)


@pytest.mark.usefixtures("either_side")
def test_one_labelled_value_normalizes_to_the_bias_and_moves_the_mean_only():
    norm, x = layer(), features(3, 5, 1, 1)
    with renorm.route(norm, torch.tensor([0, 0, 2])):
        y = norm(x)
    assert_close(y[2, :, 0, 0], norm.bias.view(3, 5)[2].detach() + 0 * y[2, :, 0, 0], rtol=1e-4, atol=1e-4)
    assert_close(norm.running_mean.view(3, 5)[2], 0.1 * x[2, :, 0, 0], rtol=1e-5, atol=1e-6)
    assert_close(norm.running_var.view(3, 5)[2], torch.ones(5), rtol=0, atol=0)


@pytest.mark.parametrize("share", [(), SANDWICH], ids=str)
def test_affine_false_and_no_running_statistics(share):
    norm = make(share, affine=False, track_running_stats=False)
    assert list(norm.state_dict()) == ["branches"]
    x = features(6, 5, 7, 3)
    with renorm.route(norm, *BRANCHES):
        trained = norm(x)
    with renorm.route(norm.eval(), *BRANCHES):
        assert_close(norm(x), trained)
    assert_close(trained[::3].mean((0, 2, 3)), torch.zeros(5), rtol=0, atol=1e-5)


@pytest.mark.parametrize("share", [(), *SANDWICHES], ids=str)
def test_time_folded_into_the_batch_gives_each_frame_its_clips_branch(share):

    class Video(nn.Module):
        def __init__(self):
            super().__init__()
            self.stem, self.frames = layer(share), layer(share)

        def forward(self, x):  # (N, T, C, H, W)
            n, t = x.shape[:2]
            x = self.stem(x.movedim(1, 2)).movedim(2, 1)
            return self.frames(x.flatten(0, 1)).unflatten(0, (n, t))

    x = features(6, 7, 5, 2, 3)
    for spec, samples in ROUTES.values():
        model = Video()
        renorm_route = model.stem.route
        model.frames.route = renorm_route
        with renorm.route(model, *spec, folded="sample"):
            y = model(x)
        alone = layer(share)
        with renorm.route(alone, *spec):
            first = alone(x.movedim(1, 2)).movedim(2, 1).flatten(0, 1)
        per_frame = torch.tensor(samples).repeat_interleave(7)
        frames = layer(share)
        with renorm.route(frames, per_frame):
            want = frames(first)
        assert_close(y.flatten(0, 1), want, rtol=1e-4, atol=1e-4)


def test_a_route_of_another_batch_is_refused_by_name():
    norm = layer()
    norm.name = "encoder.bn1"
    with (
        pytest.raises(ValueError, match=r"the route divides 6 samples, of a batch of 7 \(site 'encoder.bn1'\)"),
        renorm.route(norm, {"a": 2, "b": 4}),
    ):
        norm(features(7, 5, 2, 3))


@pytest.mark.parametrize("spec", [{"a": 1, "b": 2}, torch.tensor([0, 1, 1])], ids=["blocks", "labels"])
def test_a_route_of_half_the_batch_is_refused(spec: Any):
    model = nn.Sequential(nn.BatchNorm2d(5))
    renorm.split_(model, ["a", "b"])
    x, message = features(6, 5, 2, 3), r"divides 3 samples, of a batch of 6 \(site '0'\)\. A route divides the whole"
    for args, kwargs in (((x,), {}), ((), {"input": x})):
        with renorm.route(model, spec), pytest.raises(ValueError, match=message):
            model(*args, **kwargs)


def test_labels_of_half_the_batch_are_refused():
    with pytest.raises(ValueError, match=r"got 6 samples and 3 labels. Each sample needs one. Give the labels of this"):
        layer()(features(6, 5, 2, 3), torch.tensor([0, 1, 1]))


def test_wrong_channels_are_refused_by_name():
    norm = layer()
    norm.name = "layer1.bn"
    with pytest.raises(ValueError, match=r"'layer1.bn' got a tensor of shape \(6, 4, 2, 3\).*\(N, 5"):
        norm(features(6, 4, 2, 3))


@pytest.mark.parametrize("share", KINDS, ids=str)
def test_deepcopy_pickle_and_state_dict_round_trip(share):
    norm = layer(share)
    with renorm.route(norm, *BRANCHES):
        norm(features(6, 5, 2, 3))
    file = io.BytesIO()
    torch.save(norm.state_dict(), file)
    file.seek(0)
    loaded = layer(share)
    loaded.load_state_dict(torch.load(file, weights_only=True))
    for other in (copy.deepcopy(norm), pickle.loads(pickle.dumps(norm)), loaded):
        assert_close(other.state_dict(), norm.state_dict(), rtol=0, atol=0)
        assert other.route is not norm.route
        with renorm.route(other, "b"):
            other(features(6, 5, 2, 3))


@pytest.mark.parametrize("share", [(), *SANDWICHES], ids=str)
@pytest.mark.parametrize("training", [True, False])
def test_labels_given_by_hand_are_a_route_by_sample(training, share):
    routed, told, labels = layer(share), layer(share), torch.tensor([0, 2, 2, 1, 0, 0])
    x = features(6, 5, 7, 3)
    with renorm.route(routed.train(training), labels):
        expected = routed(x)
    with renorm.route(told.train(training), "b"):  # which they overrule
        assert_close(told(x, labels), expected, rtol=0, atol=0)
    assert_close(told.state_dict(), routed.state_dict(), rtol=0, atol=0)


def test_the_loop_catches_a_norm_that_ignores_its_route():
    """Meta: pooling the branches, the classic mistake, must not pass as split."""
    x = features(6, 5, 7, 3)
    x[::2] += 2
    pooled = nn.BatchNorm2d(5)(x)
    want, _ = branch_norm(x, [0, 1] * 3, [0, 1] * 3, torch.ones(2, 5), torch.zeros(2, 5))
    with pytest.raises(AssertionError):
        assert_close(pooled.double(), want, rtol=1e-4, atol=1e-4)
