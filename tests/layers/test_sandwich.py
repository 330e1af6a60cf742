"""Sandwich and class-conditional norms: published numbers, and what they have beyond the laws of all branched layers."""

import copy
from functools import partial
from typing import Any

import pytest
import torch
from torch import nn
from torch.testing import assert_close
from torch.utils.checkpoint import checkpoint

import renorm
from renorm.layers import SandwichBatchNorm, SplitBatchNorm
from renorm.routing import Route
from tests.oracles.numbers import fill, inp, summary
from tests.oracles.sandwich import sandwich_norm

conditional = partial(SplitBatchNorm, share="statistics")
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
        (conditional, True, [14.690952, 118.225555, -10.791729, 0.659266, -1.809728]),
        (conditional, False, [-46.731493, 126.233556, -8.896816, 0.182724, -1.883788]),
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


# --- samples of no branch --------------------------------------------------------------------------------------------


def varied(*args: Any, **options: Any) -> Any:
    norm: Any = SandwichBatchNorm(*args, **options)
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for tensor in norm.parameters():
            tensor.copy_(torch.randn(tensor.shape, generator=generator, dtype=torch.float64))
    return norm


@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last], ids=str)
@pytest.mark.parametrize("branches", [["a"], ["a", "b", "c"]], ids=len)
@pytest.mark.parametrize("training", [True, False])
def test_samples_of_no_branch_get_the_shared_affine_alone(training, branches, memory_format):
    norm = varied(5, branches).train(training)
    last = len(branches) - 1
    x = (torch.randn(6, 5, 3, 7) + 2).contiguous(memory_format=memory_format).requires_grad_()
    own = [t.detach().double().requires_grad_() for t in (x, *norm.parameters())]
    shared, outer = (own[1], own[2]), (own[3].view(-1, 5), own[4].view(-1, 5))
    running = {0: (norm.running_mean.double().clone(), norm.running_var.double().clone())}
    specs: Any = {
        "labels": ((torch.tensor([0, -1, last, -1, 0, last]),), [0, -1, last, -1, 0, last]),
        "whole": (("unknown",), [-1] * 6),
        "interleaved": (("unknown", "a"), [-1, 0] * 3),
        "blocks": (({"a": 2, "unknown": 4},), [0, 0, -1, -1, -1, -1]),
    }
    for spec, samples in specs.values():
        with renorm.frozen_statistics(norm), renorm.route(norm, *spec):
            y = norm(x)
        want, _ = sandwich_norm(own[0], [0] * 6, samples, shared, outer, norm.eps, None if training else running)
        assert_close(y.double(), want, rtol=1e-4, atol=1e-5)
        g = torch.randn(y.shape)
        mine = torch.autograd.grad(y, [x, *norm.parameters()], g, materialize_grads=True)
        theirs = torch.autograd.grad(want, own, g.double(), materialize_grads=True)
        assert_close([t.double() for t in mine], list(theirs), rtol=1e-4, atol=1e-4)


def test_unknown_samples_are_an_error_by_choice_and_where_they_have_no_statistics():
    message = (
        r"labels between -1 and 1 were given. The 2 branches \['a', 'b'\] are 0 to 1, and -1 \(unknown\) has no affine"
    )
    labels, x = torch.tensor([0, -1, 1]), torch.randn(3, 4, 5)
    for norm in (
        SandwichBatchNorm(4, ["a", "b"], unknown="error"),
        SandwichBatchNorm(4, ["a", "b"], share=()),
        conditional(4, ["a", "b"]),
        SplitBatchNorm(4, ["a", "b"]),
    ):
        with pytest.raises(ValueError, match=message):
            norm(x, labels)
        with pytest.raises(ValueError, match=message), renorm.route(norm, labels):
            pass
        with pytest.raises(ValueError, match=r"'unknown' is not a branch of this model"), renorm.route(norm, "unknown"):
            pass


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"unknown": "shared", "share": ()},
            r"unknown='shared'.*statistics of their own.*Use share='statistics', or give",
        ),
        ({"unknown": "mean"}, r"unknown='mean' was given.*Use 'shared' or 'error'"),
        ({"share": "affine"}, r"share='affine' was given for a sandwich.*renorm.split_ with share='affine'"),
        ({"share": ("statistics", "affine")}, r"was given for a sandwich"),
        ({"init": "random"}, r"init='random'.*Use 'identity' or 'published'"),
        ({"init": "published"}, r"without a generator.*Pass generator=torch.Generator\(\).manual_seed\(0\), or"),
        ({"branches": ["unknown", "a"]}, r"a branch 'unknown' was given.*Choose another name, or .* unknown='error'"),
    ],
)
def test_options_that_contradict_each_other_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        SandwichBatchNorm(4, options.pop("branches", ["a", "b"]), **options)


def test_a_branch_may_be_called_unknown_where_there_is_no_other():
    norm, x = SandwichBatchNorm(4, ["unknown", "a"], unknown="error"), torch.randn(3, 4, 5)
    with renorm.route(norm, "unknown"):
        y = norm(x)
    with renorm.route(norm, torch.zeros(3, dtype=torch.int64)):
        assert_close(norm(x), y)


def test_a_route_with_unknown_samples_is_refused_by_layers_that_have_nothing_for_them():
    route = Route(["a", "b"], unknown=True)
    SandwichBatchNorm(4, ["a", "b"], route=route)
    cases: Any = ((SplitBatchNorm, {}), (conditional, {}), (SandwichBatchNorm, {"share": ()}))
    for kind, options in cases:
        with pytest.raises(ValueError, match=r"a route with samples of no branch was given to a .*Use a sandwich"):
            kind(4, ["a", "b"], route=route, **options)


# --- labels given by hand --------------------------------------------------------------------------------------------


class Generator(nn.Module):
    """A conditional generator as its author would write it."""

    def __init__(self, norm: Any) -> None:
        super().__init__()
        self.first, self.second = norm(6), norm(6)
        self.conv = nn.Conv2d(6, 6, 3, padding=1)

    def forward(self, z: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        return self.second(self.conv(self.first(z, labels).relu()), labels)


@pytest.mark.parametrize("kind", [SandwichBatchNorm, conditional])
def test_a_generator_built_by_hand_compiles_and_needs_no_route(kind):
    torch._dynamo.reset()
    generator = torch.Generator().manual_seed(0)
    model = Generator(lambda c: kind(c, 10, init="published", generator=generator))
    compiled: Any = torch.compile(copy.deepcopy(model), backend="aot_eager", fullgraph=True)
    for n in (4, 6):
        z, labels = torch.randn(n, 6, 5, 5), torch.randint(0, 10, (n,))
        y, other = model(z, labels), compiled(z, labels)
        assert_close(other, y, rtol=1e-4, atol=1e-5)
    y.square().sum().backward()
    other.square().sum().backward()
    for p, q in zip(model.parameters(), compiled.parameters(), strict=True):
        assert_close(p.grad, q.grad, rtol=1e-3, atol=1e-3)


def test_wrong_labels_by_hand_are_refused_every_time():
    norm, x = conditional(4, 3), torch.randn(2, 4, 5)
    for labels in (torch.tensor([0, 3]), torch.tensor([-2, 1])):
        for _ in range(2):
            with pytest.raises(ValueError, match=r"labels between .* were given. The 3 branches"):
                norm(x, labels)
    labels = torch.tensor([0, 2])
    norm(x, labels)
    labels[0] = 5  # in place: the same tensor, but checked anew
    with pytest.raises(ValueError, match="labels between 2 and 5"):
        norm(x, labels)
    with pytest.raises(TypeError, match=r"needs \(N,\) int64"):
        norm(x, labels.float())
    with torch.inference_mode():
        norm(x, torch.tensor([0, 2]))


@pytest.mark.parametrize("kind", [SandwichBatchNorm, conditional])
@pytest.mark.parametrize("training", [True, False])
def test_one_label_is_that_of_the_whole_batch(kind, training):
    norm = kind(4, ["cat", "dog", "cow"], init="published", generator=torch.Generator().manual_seed(0)).train(training)
    x, labels = torch.randn(6, 4, 5), torch.full((6,), 2)
    want = copy.deepcopy(norm)(x, labels)
    for label in ("cow", 2):
        assert_close(copy.deepcopy(norm)(x, label), want)
    if kind is SandwichBatchNorm:
        assert_close(copy.deepcopy(norm)(x, "unknown"), copy.deepcopy(norm)(x, torch.full((6,), -1)))
        assert_close(copy.deepcopy(norm)(x, -1), copy.deepcopy(norm)(x, torch.full((6,), -1)))
    compiled: Any = torch.compile(copy.deepcopy(norm), backend="aot_eager", fullgraph=True)
    assert_close(compiled(x, 2), want)


@pytest.mark.parametrize(
    ("label", "error", "message"),
    [
        (3, ValueError, r"label 3 was given. The 3 branches \['0', '1', '2'\] are 0 to 2. Map the label"),
        (-1, ValueError, r"label -1 was given"),
        ("4", ValueError, r"'4' is not a branch"),
        ([0, 1], TypeError, r"labels of type list were given. A site takes a tensor .* its name or index"),
        (True, TypeError, r"labels of type bool were given"),
    ],
)
def test_one_label_that_is_none_is_refused(label, error, message):
    with pytest.raises(error, match=message):
        conditional(4, 3)(torch.randn(2, 4, 5), label)


def test_labels_of_a_checkpointed_layer_update_once():
    norm, x, labels = varied(4, 3), torch.randn(6, 4, 5, requires_grad=True), torch.tensor([0, 1, 2, 2, -1, 0])
    plain = copy.deepcopy(norm)
    plain(x, labels).square().sum().backward()
    checkpoint(norm, x, labels, use_reentrant=False).square().sum().backward()
    assert_close(norm.state_dict(), plain.state_dict(), rtol=0, atol=0)
    assert_close(norm.branch_weight.grad, plain.branch_weight.grad, rtol=1e-5, atol=1e-6)


def test_thousands_of_conditions_never_wait_for_the_device(monkeypatch):
    """Nothing of a forward or backward asks a tensor for its value, once the route is open."""
    norm: Any = SandwichBatchNorm(4, 2000).eval()
    x, labels = torch.randn(8, 4, 5, 5, requires_grad=True), torch.randint(-1, 2000, (8,))

    def waits(*args: Any) -> Any:
        raise AssertionError("waited for the device")

    with renorm.route(norm, labels):
        for name in ("item", "tolist", "__bool__", "__int__", "__float__", "nonzero", "cpu"):
            monkeypatch.setattr(torch.Tensor, name, waits)
        norm(x).sum().backward()
        norm.train()(x).sum().backward()
        monkeypatch.undo()
    assert norm.num_batches_tracked.tolist() == [1]
    assert "branches=['0', '1', ... '1999']" in repr(norm)


# --- initialization and state ----------------------------------------------------------------------------------------


def test_initialization_as_published_or_the_identity():
    norm: Any = SandwichBatchNorm(512, 20, init="published", generator=torch.Generator().manual_seed(0))
    for weight in (norm.weight, norm.branch_weight):
        assert abs(weight.mean() - 1) < 4 * 0.02 / weight.numel() ** 0.5
        assert 0.018 < weight.std() < 0.022
    assert not norm.bias.any()
    assert not norm.branch_bias.any()
    again: Any = SandwichBatchNorm(512, 20, init="published", generator=torch.Generator().manual_seed(0))
    assert_close(again.state_dict(), norm.state_dict(), rtol=0, atol=0)
    identity: Any = SandwichBatchNorm(512, 20)
    assert all(bool((p == float(name.endswith("weight"))).all()) for name, p in identity.named_parameters())
    by_class: Any = conditional(512, 20, init="published", generator=torch.Generator().manual_seed(0))
    assert 0.018 < by_class.weight.std() < 0.022
    assert not by_class.bias.any()


def test_a_plain_checkpoint_becomes_the_shared_affine_and_branches_the_identity():
    plain, norm = nn.BatchNorm2d(5), varied(5, ["a", "b"])
    with torch.no_grad():
        plain.weight.uniform_(-1, 1)
        plain.bias.uniform_(-1, 1)
    plain(torch.randn(4, 5, 3, 3))
    norm.load_state_dict(plain.state_dict())
    x = torch.randn(4, 5, 3, 3)
    for branch in ("a", "b", "unknown"):
        with renorm.route(norm.eval(), branch):
            assert_close(norm(x), plain.eval()(x), rtol=0, atol=0)
    state = varied(5, ["a", "b"]).state_dict()
    for key in ("branch_weight", "branch_bias"):
        del state[key]
    with pytest.raises(RuntimeError, match=r'Missing key\(s\) in state_dict: "branch_weight", "branch_bias"'):
        norm.load_state_dict(state)  # of a sandwich, but truncated


def test_absent_branches_get_zero_gradients():
    norm = varied(5, ["a", "b", "c"], share=())
    with renorm.route(norm, "b"):
        norm(torch.randn(6, 5, 2, 3)).square().sum().backward()
    assert not norm.branch_weight.grad.view(3, 5)[[0, 2]].any()
    assert norm.branch_weight.grad.view(3, 5)[1].any()
    assert norm.weight.grad.any()
    assert norm.num_batches_tracked.tolist() == [0, 1, 0]


# --- that these laws can fail ----------------------------------------------------------------------------------------


def test_the_loop_catches_affines_in_the_wrong_order():
    """Meta: the branch's affine under the shared one, and scales that are added, must not pass as a sandwich."""
    norm, labels = varied(5, ["a", "b"]), [0, 1, 1, 0, 1, 1]
    x = torch.randn(6, 5, 3, 3)
    weight, bias, own_weight, own_bias = (p.detach().double().view(-1, 5) for p in norm.parameters())
    hat = torch.nn.functional.batch_norm(x.double(), None, None, training=True)
    want, _ = sandwich_norm(x, [0] * 6, labels, (weight[0], bias[0]), (own_weight, own_bias))
    w, b = (t[labels][:, :, None, None] for t in (own_weight, own_bias))
    sw, sb = (t[0][:, None, None] for t in (weight, bias))
    assert_close(w * (sw * hat + sb) + b, want, rtol=1e-6, atol=1e-6)
    for naive in (sw * (w * hat + b) + sb, (w + sw) * hat + b + sb, w * sw * hat + sb + b):
        with pytest.raises(AssertionError):
            assert_close(naive, want, rtol=1e-3, atol=1e-3)
