"""Exchange of moments: reference numbers, the slow loop, laws, derivatives, and what is refused."""

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch.autograd import gradcheck, gradgradcheck
from torch.testing import assert_close

from renorm import functional
from renorm.functional import exchange_moments, mix_moments, moment_shortcut, passes, pono
from tests.oracles import exchange as oracle
from tests.oracles.numbers import inp

PARTS: dict[str, dict[str, Any]] = {"pono": {}, "in": {}, "ln": {}, "gn": {"groups": 2}, "gpono": {"groups": 2}}
SHAPES = [(3, 4, 5), (3, 4, 3, 2), (3, 4, 2, 1, 3)]
FORMATS = {3: [None], 4: [None, torch.channels_last], 5: [None, torch.channels_last_3d]}
LAYOUTS = [(shape, layout) for shape in SHAPES for layout in FORMATS[len(shape)]]


@pytest.fixture(params=["passes", "formula"])
def way(request, monkeypatch):
    """Both ways to compute: the passes of a CPU, and plain operations as elsewhere."""
    if request.param == "formula":
        monkeypatch.setattr(passes, "able", lambda x: False)


def features(shape=(3, 4, 3, 2), layout=None, dtype=torch.float64, seed=0) -> torch.Tensor:
    x = torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64) * 2 + 1
    x = x + torch.arange(shape[0]).view(-1, *(1,) * (len(shape) - 1))
    return x.to(dtype).contiguous(memory_format=layout or torch.contiguous_format)


def donors(*index: int) -> torch.Tensor:
    return torch.tensor(index)


# Reference numbers: the authors' function in float32

SMALL = torch.tensor([[[[1.0, 2.0]], [[3.0, 5.0]]], [[[0.0, -1.0]], [[4.0, 2.0]]]])
SMALL_RESULTS = {
    "in": [-1, 0, 2, 4, 2, 1, 5, 3],
    "pono": [4e-6, -1, 3.999996, 2, 0.999998, 2, 3.000002, 5],
    "ln": [-1.022112, 0.276238, 1.574588, 4.171287, 1.787239, 1.017030, 4.868074, 3.327657],
}
LARGE_RESULTS = {  # sum, sum of absolutes, weighted sum, first, last, sum of absolutes of its gradient
    "pono": (-0.739941, 55.237650, 0.751224, -0.380156, 0.763788, 47.001593),
    "in": (-0.739941, 54.446189, -5.177684, -1.740629, 0.552690, 45.153468),
    "ln": (-0.739943, 54.956182, 1.819918, -0.652844, 0.460468, 47.097115),
    "gn": (-0.739942, 54.418899, -2.557959, -0.940905, 0.868189, 42.685135),
    "gpono": (-0.739940, 55.531703, 2.971242, 0.089867, 0.185474, 46.238622),
}


@pytest.mark.usefixtures("way")
@pytest.mark.parametrize("over", SMALL_RESULTS)
def test_small_reference_numbers(over):
    y = exchange_moments(SMALL, donors(1, 0), over)
    assert_close(y.flatten(), torch.tensor(SMALL_RESULTS[over]).float(), rtol=0, atol=3e-6)


@pytest.mark.usefixtures("way")
@pytest.mark.parametrize("over", LARGE_RESULTS)
def test_large_reference_numbers_and_gradients(over):
    x = inp(3, 4, 2, 3, 0).requires_grad_()
    y = exchange_moments(x, donors(2, 0, 1), over, **PARTS[over])
    weighted = (y * torch.cos(0.31 * torch.arange(72.0)).view(y.shape)).sum()
    weighted.backward()
    assert x.grad is not None
    flat = y.detach().flatten()
    got = [flat.sum(), flat.abs().sum(), weighted.detach(), flat[0], flat[-1], x.grad.abs().sum()]
    assert_close(torch.stack(got), torch.tensor(LARGE_RESULTS[over]), rtol=1e-5, atol=1e-5)


# The slow loop


@pytest.mark.usefixtures("way")
@pytest.mark.parametrize(("shape", "layout"), LAYOUTS, ids=str)
@pytest.mark.parametrize("over", PARTS)
@pytest.mark.parametrize("index", [(2, 0, 1), (0, 2, 1), (1, 1, 1)], ids=str)
def test_values_and_gradients_equal_the_loop(index, over, shape, layout):
    x = features(shape, layout).requires_grad_()
    g = features(shape, layout, seed=5)
    y = exchange_moments(x, donors(*index), over, **PARTS[over])
    want = oracle.exchange(x, index, over, **PARTS[over])
    assert_close(y, want, rtol=1e-10, atol=1e-10)
    assert_close(torch.autograd.grad(y, x, g), torch.autograd.grad(want, x, g), rtol=1e-9, atol=1e-9)
    assert y.stride() == x.stride()


@pytest.mark.usefixtures("way")
@pytest.mark.parametrize("over", PARTS)
def test_group_size_counts_channels(over):
    x = features((3, 6, 3, 2))
    if over in ("gn", "gpono"):
        of_size = exchange_moments(x, donors(2, 0, 1), over, group_size=2)
        assert_close(of_size, exchange_moments(x, donors(2, 0, 1), over, groups=3))


@pytest.mark.usefixtures("way")
@pytest.mark.parametrize("own", [0.0, 0.3, 1.0, (0.0, 0.7, 1.0)], ids=str)
@pytest.mark.parametrize("over", PARTS)
def test_mixing_equals_the_loop(over, own):
    x, index = features(), (2, 0, 1)
    weight = torch.tensor(own) if isinstance(own, tuple) else own
    y = mix_moments(x, donors(*index), weight, over, **PARTS[over])
    each = own if isinstance(own, tuple) else (own,) * 3
    want = torch.stack([oracle.exchange(x, index, over, eps=1e-6, own=w, **PARTS[over])[n] for n, w in enumerate(each)])
    assert_close(y, want, rtol=1e-6, atol=1e-6)


def test_mixing_is_detached_as_published():
    x = features().requires_grad_()
    y = mix_moments(x, donors(2, 0, 1), 0.3)
    std, new = x.std((2, 3), keepdim=True), y.std((2, 3), keepdim=True)
    (grad,) = torch.autograd.grad(y.sum(), x)
    assert_close(grad, (new / std).expand_as(x).detach(), rtol=1e-5, atol=1e-6)
    assert_close(mix_moments(x, donors(2, 0, 1), 0, eps=1e-5), exchange_moments(x, donors(2, 0, 1), "in"))


# Laws


@pytest.mark.usefixtures("way")
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.float16, torch.bfloat16])
@pytest.mark.parametrize("over", PARTS)
def test_the_identity_changes_no_bit(over, dtype):
    x = features(dtype=dtype) + 100
    assert_close(exchange_moments(x, torch.arange(3), over, **PARTS[over]), x, rtol=0, atol=0)
    with_a_fixed_point = exchange_moments(x, donors(1, 0, 2), over, **PARTS[over])
    assert_close(with_a_fixed_point[2], x[2], rtol=0, atol=0)
    assert (with_a_fixed_point[0] != x[0]).any()


@pytest.mark.usefixtures("way")
@pytest.mark.parametrize("over", PARTS)
def test_the_sum_of_the_batch_stays(over):
    x = features()
    y = exchange_moments(x, donors(2, 0, 1), over, **PARTS[over])
    assert_close(y.sum(), x.sum(), rtol=1e-10, atol=0)


@pytest.mark.usefixtures("way")
@pytest.mark.parametrize("over", PARTS)
def test_moments_afterwards(over):
    x, pi, eps = features(), donors(2, 0, 1), 0.1
    y = exchange_moments(x, pi, over, eps=eps, **PARTS[over])
    for index in oracle.parts(over, (4, 3, 2), 2):
        before, after = (t.flatten(1)[:, index] for t in (x, y))
        v = before.var(1)
        assert_close(after.mean(1), before.mean(1)[pi])
        assert_close(after.var(1), v * (v[pi] + eps) / (v + eps))


@pytest.mark.usefixtures("way")
@pytest.mark.parametrize(
    ("one", "other"),
    [(("gn", 1), ("ln", None)), (("gn", 4), ("in", None)), (("gpono", 1), ("pono", None))],
    ids=str,
)
def test_groups_reduce_to_the_others(one, other):
    x = features()
    grouped = exchange_moments(x, donors(2, 0, 1), one[0], groups=one[1])
    assert_close(grouped, exchange_moments(x, donors(2, 0, 1), other[0], groups=other[1]), rtol=1e-12, atol=1e-12)


@pytest.mark.usefixtures("way")
def test_adaptive_instance_norm_towards_the_donor_is_the_exchange():
    x = features((3, 4, 5, 5))
    pi = donors(2, 0, 1)
    style = x[pi]
    std = (style.var((2, 3), keepdim=True) + 1e-5).sqrt()
    content = (x - x.mean((2, 3), keepdim=True)) / (x.var((2, 3), keepdim=True) + 1e-5).sqrt()
    assert_close(exchange_moments(x, pi, "in"), content * std + style.mean((2, 3), keepdim=True))


@pytest.mark.usefixtures("way")
@pytest.mark.parametrize("over", PARTS)
def test_the_inverse_permutation_restores(over):
    x, pi = features(), donors(2, 0, 1)
    there = exchange_moments(x, pi, over, eps=1e-12, **PARTS[over])
    assert_close(exchange_moments(there, pi.argsort(), over, eps=1e-12, **PARTS[over]), x, rtol=1e-6, atol=1e-6)


def test_the_restoring_law_can_fail():
    x, pi = features(), donors(2, 0, 1)
    with pytest.raises(AssertionError):
        assert_close(exchange_moments(exchange_moments(x, pi), pi), x, rtol=1e-3, atol=1e-3)


@pytest.mark.usefixtures("way")
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("over", PARTS)
def test_half_in_half_out_computed_in_float32(over, dtype):
    x = features(dtype=dtype).requires_grad_()
    y = exchange_moments(x, donors(2, 0, 1), over, **PARTS[over])
    y.sum().backward()
    want = exchange_moments(x.detach().float(), donors(2, 0, 1), over, **PARTS[over])
    assert y.dtype == dtype
    assert x.grad is not None
    assert x.grad.dtype == dtype
    assert_close(y, want.to(dtype), rtol=0, atol=0)


def test_float16_does_not_overflow():
    x = features(dtype=torch.float16) * 2000
    y = exchange_moments(x, donors(2, 0, 1), "in")
    assert y.isfinite().all()
    with pytest.raises(AssertionError):  # the naive version in half precision
        assert x.var((2, 3)).isfinite().all()


@pytest.mark.usefixtures("way")
def test_float64_is_computed_in_float64():
    x = features()
    y = exchange_moments(x, donors(2, 0, 1))
    assert y.dtype == torch.float64
    single = exchange_moments(x.float(), donors(2, 0, 1)).double()
    want = oracle.exchange(x, (2, 0, 1), "pono")
    assert (y - want).abs().max() < 1e-13 < (single - want).abs().max()


@pytest.mark.usefixtures("way")
def test_variances_do_not_cancel_for_large_means():
    x = torch.randn(2, 3, 40, 40) * 0.01 + 100
    y = exchange_moments(x, donors(1, 0), "in")
    assert_close(y.double(), oracle.exchange(x, (1, 0), "in"), rtol=0, atol=1e-4)


# Shapes


@pytest.mark.usefixtures("way")
@pytest.mark.parametrize("over", PARTS)
@pytest.mark.parametrize(("n", "length"), [(5, 64), (1, 9), (0, 7)])
def test_speech_and_point_clouds(over, n, length):
    for channels in (64, 4):
        x = torch.randn(n, channels, length)
        y = exchange_moments(x, torch.arange(n).flip(0), over, **PARTS[over])
        assert y.shape == x.shape
        if n == 5:
            assert_close(y[2], x[2], rtol=0, atol=0)


@pytest.mark.usefixtures("way")
@pytest.mark.parametrize("over", PARTS)
def test_tokens_with_channels_last_of_all(over):
    tokens = features((3, 5, 4)).requires_grad_()
    y = exchange_moments(tokens, donors(2, 0, 1), over, channel_dim=-1, **PARTS[over])
    want = exchange_moments(tokens.movedim(-1, 1), donors(2, 0, 1), over, **PARTS[over]).movedim(1, -1)
    assert_close(y, want)
    assert y.is_contiguous()
    mixed = mix_moments(tokens, donors(2, 0, 1), 0.5, over, channel_dim=-1, **PARTS[over])
    assert mixed.shape == tokens.shape


def test_vectors_have_groups_of_channels_only():
    x = features((3, 4))
    assert_close(exchange_moments(x, donors(2, 0, 1)), oracle.exchange(x, (2, 0, 1), "pono"))
    with pytest.raises(ValueError, match="parts of 1 value"):
        exchange_moments(x, donors(2, 0, 1), "in")


@pytest.mark.parametrize("dtype", [torch.float64, torch.float16])
@pytest.mark.parametrize("over", PARTS)
def test_tensors_with_gaps_and_broadcast_ones(over, dtype):
    wide = features((3, 8, 6, 4), dtype=dtype)
    for x in (wide[:, ::2, ::2], wide[:, :4].expand(3, 4, 6, 4), wide[:1, :4].expand(3, 4, 6, 4)):
        y = exchange_moments(x, donors(2, 0, 1), over, **PARTS[over])
        assert_close(y, exchange_moments(x.contiguous(), donors(2, 0, 1), over, **PARTS[over]))


# Derivatives


@pytest.mark.usefixtures("way")
@pytest.mark.parametrize("layout", [None, torch.channels_last])
@pytest.mark.parametrize("over", PARTS)
def test_first_and_second_derivatives(over, layout):
    x = features((2, 4, 3, 2), layout).requires_grad_()

    def run(x):
        return exchange_moments(x, donors(1, 0), over, **PARTS[over])

    assert gradcheck(run, (x,))
    assert gradgradcheck(run, (x,), fast_mode=True)  # along random directions


@pytest.mark.usefixtures("way")
def test_derivatives_of_the_siblings():
    x = features((2, 4, 3, 2)).requires_grad_()
    weight = torch.tensor([0.3, 0.8], dtype=torch.float64)
    assert gradcheck(lambda x: mix_moments(x, donors(1, 0), weight, detach=False), (x,))
    assert gradcheck(lambda x: moment_shortcut(x**2, pono(x)[1]), (x,))
    assert gradcheck(lambda x: pono(x)[0], (x,))
    assert gradgradcheck(lambda x: pono(x)[0], (x,), fast_mode=True)


@pytest.mark.parametrize("over", PARTS)
def test_detached_moments_are_constants(over):
    x, pi = features().requires_grad_(), donors(2, 0, 1)
    y = exchange_moments(x, pi, over, detach=True, **PARTS[over])
    g = features(seed=7)
    (grad,) = torch.autograd.grad(y, x, g)
    scale = torch.empty_like(x)
    for index in oracle.parts(over, (4, 3, 2), 2):
        std = (x.detach().flatten(1)[:, index].var(1) + 1e-5).sqrt()
        scale.view(3, -1)[:, index] = (std[pi] / std).unsqueeze(1)
    assert_close(grad, g * scale)


# Positive values only


@pytest.mark.parametrize("over", PARTS)
def test_positive_values_equal_the_loop(over):
    x = features((3, 4, 3, 5)).sub(2).relu()
    y = exchange_moments(x, donors(2, 0, 1), over, positive_only=True, **PARTS[over])
    assert_close(y, oracle.exchange_positive(x, (2, 0, 1), over, **PARTS[over]))
    assert exchange_moments(x.half(), donors(2, 0, 1), over, positive_only=True, **PARTS[over]).dtype == torch.float16


def test_positive_values_have_derivatives():
    x = features((2, 4, 3, 2)).requires_grad_()
    assert gradcheck(lambda x: exchange_moments(x.relu(), donors(1, 0), "in", positive_only=True), (x,))
    (grad,) = torch.autograd.grad(
        exchange_moments(x.relu(), donors(1, 0), "in", positive_only=True, detach=True).sum(), x
    )
    assert grad.isfinite().all()


def published_positive(x, pi, dims):
    """As in the authors' code: moments of positive values, without a guard."""
    count = (x > 0).sum(dims, keepdim=True).clamp(min=1)
    mean = x.relu().sum(dims, keepdim=True) / count
    std = (x.relu().square().sum(dims, keepdim=True) / count - mean**2 + 1e-5).sqrt()
    return x * std[pi] / std + mean[pi] - mean * std[pi] / std


def test_a_single_positive_value_does_not_blow_up():
    x = torch.zeros(2, 8, 1, 3)
    x[0, 0], x[1] = 1.0, torch.rand(8, 1, 3) + 0.5
    y = exchange_moments(x, donors(1, 0), positive_only=True)
    assert_close(y, x, rtol=0, atol=0)
    assert published_positive(x, donors(1, 0), [1]).abs().max() > 50


# PONO and the moment shortcut


@pytest.mark.usefixtures("way")
@pytest.mark.parametrize("layout", [None, torch.channels_last])
def test_positional_normalization_and_its_inverse(layout):
    x = features((3, 5, 4, 2), layout)
    y, m = pono(x)
    mean, std = x.mean(1, keepdim=True), (x.var(1, keepdim=True) + 1e-5).sqrt()
    assert_close(y, (x - mean) / std)
    assert_close(m.mean, mean)
    assert_close(functional.unbiased(m), x.var(1, keepdim=True))
    assert_close(moment_shortcut(y, m), x)
    assert y.stride() == x.stride()
    decoded = torch.randn(3, 2, 4, 2, dtype=torch.float16)
    assert_close(moment_shortcut(decoded, m), (decoded * std + mean).half())


def test_positional_normalization_is_a_layer_norm_of_each_position():
    x = features((3, 5, 4, 2))
    biased = F.layer_norm(x.movedim(1, -1), [5], eps=0).movedim(-1, 1)
    assert_close(pono(x, eps=0)[0] * (5 / 4) ** 0.5, biased)


def test_a_shortcut_to_another_resolution_is_refused():
    _, m = pono(features((3, 5, 4, 2)))
    with pytest.raises(ValueError, match=r"needs moments of \(3, 1, 2, 2\)\. Take them at the same resolution"):
        moment_shortcut(torch.zeros(3, 5, 2, 2), m)


# Refused


@pytest.mark.parametrize(
    ("shape", "over", "groups", "remedy"),
    [
        ((2, 1, 4, 4), "pono", {}, "a layer with more channels"),
        ((2, 4, 1, 1), "in", {}, "a layer with more positions"),
        ((2, 1, 1, 1), "ln", {}, "Choose another layer"),
        ((2, 4, 1, 1), "gn", {"groups": 4}, "Use larger groups"),
        ((2, 4, 4, 4), "gpono", {"group_size": 1}, "Use larger groups"),
    ],
)
def test_parts_of_a_single_value_are_refused(shape, over, groups, remedy):
    with pytest.raises(ValueError, match=f"parts of 1 value.*at least 2 values.*{remedy}"):
        exchange_moments(torch.ones(shape), donors(1, 0), over, **groups)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"over": "bn"}, r"over='bn' was given.*\['pono', 'in', 'ln', 'gn', 'gpono'\]. Choose one"),
        ({"over": "gn"}, "neither groups nor group_size.*needs one of both.*groups=2"),
        ({"over": "gpono", "groups": 2, "group_size": 2}, "needs one of both"),
        ({"over": "in", "groups": 2}, "no groups of channels.*use 'gn' or 'gpono'"),
        ({"over": "gn", "groups": 3}, "4 channels cannot be divided by 3.*Pass a divisor of 4"),
        ({"over": "gn", "groups": 0}, "counted from 1"),
        ({"channel_dim": 0}, "channels along axis 0.*channel_dim=-1"),
        ({"channel_dim": -4}, "channels along axis -4"),
    ],
    ids=str,
)
def test_arguments_that_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        exchange_moments(torch.ones(2, 4, 3, 3), donors(1, 0), **arguments)


def test_tensors_that_are_refused():
    x = torch.ones(2, 4, 3, 3)
    with pytest.raises(ValueError, match=r"shape \(3,\) was given for 2 samples.*torch.randperm\(2\)"):
        exchange_moments(x, donors(1, 0, 2))
    with pytest.raises(TypeError, match=r"permutation of torch.int32.*by .long\(\)"):
        exchange_moments(x, donors(1, 0).int())
    with pytest.raises(TypeError, match=r"torch.uint8 was given.*need floating point.*Convert it"):
        exchange_moments(x.byte(), donors(1, 0))
    with pytest.raises(ValueError, match=r"shape \(2,\).*Choose another layer"):
        exchange_moments(torch.ones(2), donors(1, 0))
    with pytest.raises(IndexError):
        exchange_moments(x, donors(1, 2))


# Compiled


@pytest.mark.parametrize("over", ["pono", "gn"])
def test_compiled_equals_eager_in_one_graph(over):
    torch._dynamo.reset()
    run = torch.compile(exchange_moments, backend="aot_eager", fullgraph=True, dynamic=True)
    for n in (3, 5):
        x, g = (features((n, 4, 3, 2), seed=seed).requires_grad_() for seed in (n, 1))
        pi = torch.randperm(n)
        y, want = run(x, pi, over, **PARTS[over]), exchange_moments(x, pi, over, **PARTS[over])
        assert_close(y, want, rtol=1e-10, atol=1e-10)
        assert_close(torch.autograd.grad(y, x, g), torch.autograd.grad(want, x, g), rtol=1e-9, atol=1e-9)
