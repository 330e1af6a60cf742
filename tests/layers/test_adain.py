"""AdaIN and its sandwich: published numbers, a slow loop, and what they reduce to."""

from typing import Any

import pytest
import torch
from torch.testing import assert_close

from renorm import functional
from renorm.layers import AdaIN, SandwichAdaIN
from tests.oracles.numbers import fill, inp, summary

FORMATS = [torch.contiguous_format, torch.channels_last]


def loop(content: Any, style: Any, weight: Any, bias: Any, eps: float = 1e-5) -> Any:
    """The formula of the paper for one sample and channel at a time; shares no code."""
    out = []
    for n in range(len(content)):
        for c in range(content.shape[1]):
            x, s = content[n, c].flatten(), style[n % len(style), c].flatten()
            mean, target = x.sum() / len(x), s.sum() / len(s)
            deviation = (((x - mean) ** 2).sum() / (len(x) - 1) + eps) ** 0.5
            wanted = (((s - target) ** 2).sum() / (len(s) - 1) + eps) ** 0.5
            out.append(wanted * (weight[c] * (x - mean) / deviation + bias[c]) + target)
    return torch.stack(out).view(content.shape)


def test_the_authors_small_numbers():
    content, style = torch.tensor([[[1.0, 2.0], [3.0, 6.0]]]), torch.tensor([[[0.0, 4.0], [4.0, 8.0]]])
    content, style = content.view(1, 1, 2, 2), style.view(1, 1, 2, 2)
    expected = torch.tensor([0.976286, 2.488143, 4.0, 8.535570])
    assert_close(AdaIN()(content, style).flatten(), expected, rtol=0, atol=2e-6)
    layer = SandwichAdaIN(1)
    with torch.no_grad():
        layer.weight.fill_(2)
        layer.bias.fill_(1)
    expected = torch.tensor([1.218560, 4.242274, 7.265988, 16.337130])
    assert_close(layer(content, style).detach().flatten(), expected, rtol=0, atol=4e-6)


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        (AdaIN, [-55.170589, 184.841206, 5.992366, -0.107760, -1.459892]),
        (SandwichAdaIN, [-25.995137, 190.736187, 5.762424, 0.020498, -1.279099]),
    ],
)
def test_the_authors_larger_numbers(kind: Any, expected: list[float]):
    x, style = inp(6, 4, 2, 3, 0), 1.5 * inp(6, 4, 2, 3, 1.7) + 0.3
    layer = kind(4) if kind is SandwichAdaIN else kind()
    with torch.no_grad():
        if kind is SandwichAdaIN:
            layer.weight.copy_(fill(layer.weight, 1, 0.3))
            layer.bias.copy_(fill(layer.bias, 0.1, 0.2))
        y = layer(x, style)
    total, *others = summary(y)
    found = torch.tensor([total, float(y.double().abs().sum()), *others])
    assert_close(found, torch.tensor(expected), rtol=1e-6, atol=2e-6)


@pytest.mark.parametrize("styles", [5, 1])
@pytest.mark.parametrize("memory_format", FORMATS, ids=str)
def test_values_and_gradients_equal_the_loop(memory_format, styles):
    generator = torch.Generator().manual_seed(0)
    content = torch.randn(5, 3, 7, 2, generator=generator) + 2
    style = torch.randn(styles, 3, 4, 5, generator=generator) * 3 - 1
    weight, bias = torch.randn(2, 3, generator=generator).unbind()
    g = torch.randn(content.shape, generator=generator)
    own = [t.clone().requires_grad_() for t in (content.contiguous(memory_format=memory_format), style, weight, bias)]
    exact = [t.double().requires_grad_() for t in (content, style, weight, bias)]
    y, want = functional.adain(own[0], own[1], own[2], own[3]), loop(exact[0], exact[1], exact[2], exact[3])
    assert y.stride() == own[0].stride()
    y.backward(g)
    want.backward(g.double())
    assert_close(y.double(), want, rtol=1e-5, atol=1e-5)
    for mine, theirs in zip(own, exact, strict=True):
        assert_close(mine.grad.double(), theirs.grad, rtol=1e-4, atol=1e-4)  # pyright: ignore[reportOptionalMemberAccess]


@pytest.mark.parametrize("memory_format", FORMATS, ids=str)
def test_first_and_second_derivatives(memory_format):
    generator = torch.Generator().manual_seed(0)
    shapes = [(2, 2, 3, 2), (2, 2, 2, 2), (2,), (2,)]
    inputs = [torch.randn(s, generator=generator, dtype=torch.float64) for s in shapes]
    inputs[0] = inputs[0].contiguous(memory_format=memory_format)
    inputs = [t.requires_grad_() for t in inputs]
    assert torch.autograd.gradcheck(functional.adain, inputs)
    assert torch.autograd.gradgradcheck(functional.adain, inputs)


def test_it_reduces_to_the_content_where_that_is_the_style():
    x = torch.randn(3, 4, 5, 6) + 7
    assert_close(AdaIN()(x, x), x, rtol=1e-5, atol=1e-5)
    assert_close(SandwichAdaIN(4)(x, x), AdaIN()(x, x), rtol=0, atol=0)


def test_half_in_half_out():
    x, style = torch.randn(3, 4, 5, 6), torch.randn(3, 4, 5, 6)
    y = SandwichAdaIN(4)(x.bfloat16(), style.bfloat16())
    assert y.dtype == torch.bfloat16
    assert_close(y.float(), AdaIN()(x.bfloat16().float(), style.bfloat16().float()), rtol=2e-2, atol=3e-2)


@pytest.mark.parametrize(
    ("content", "style"), [((2, 3, 4), (3, 3, 4)), ((2, 3, 4), (2, 4, 4)), ((2, 3), (2, 3)), ((2, 3, 4), (2, 3, 1))]
)
def test_shapes_that_do_not_fit_are_refused(content, style):
    message = r"content of shape .* and style of shape .* were given. Both need as many channels.*Use an earlier"
    with pytest.raises(ValueError, match=message):
        AdaIN()(torch.zeros(content), torch.zeros(style))


def test_wrong_channels_are_refused():
    with pytest.raises(ValueError, match=r"content of shape \(2, 3, 4\).*needs \(N, 5, \.\.\.\)"):
        SandwichAdaIN(5)(torch.zeros(2, 3, 4), torch.zeros(2, 3, 4))


def test_the_loop_catches_the_biased_deviation():
    """Meta: the usual mistake must not pass as AdaIN."""
    x, style = torch.randn(2, 3, 2, 2), torch.randn(2, 3, 3, 3)

    def std(t: Any) -> Any:
        return (t.var((2, 3), keepdim=True, correction=0) + 1e-5).sqrt()

    naive = std(style) * (x - x.mean((2, 3), True)) / std(x) + style.mean((2, 3), True)
    want = loop(x.double(), style.double(), torch.ones(3), torch.zeros(3))
    assert_close(functional.adain(x, style).double(), want, rtol=1e-5, atol=1e-5)
    with pytest.raises(AssertionError):
        assert_close(naive.double(), want, rtol=1e-5, atol=1e-5)
