"""The one function over pixels: its passes against the formula and a slow loop, its derivatives, and what it leaves alone."""

from __future__ import annotations

import gc
from collections.abc import Callable
from typing import Any
from weakref import ref

import pytest
import torch
from torch import Tensor
from torch.autograd import forward_ad, gradcheck, gradgradcheck
from torch.autograd.graph import saved_tensors_hooks
from torch.testing import assert_close
from torch.utils.checkpoint import checkpoint

from renorm.functional import passes
from renorm.functional.passes import around, by_formula, renormalize

FORMATS = {
    (5, 3, 7): [torch.contiguous_format],
    (5, 3, 7, 2): [torch.contiguous_format, torch.channels_last],
    (5, 3, 2, 1, 7): [torch.contiguous_format, torch.channels_last_3d],
}
LAYOUTS = [(shape, layout) for shape, layouts in FORMATS.items() for layout in layouts]


def by_own(mean: Tensor, var: Tensor, weight: Tensor, bias: Tensor) -> tuple[Any, ...]:
    """Each sample and channel by its own moments; tables of a row for each sample. The means are given back."""
    return *around(mean, (var + 0.1).rsqrt() * weight, bias), mean, mean.detach().sum()


def by_batch(mean: Tensor, var: Tensor, weight: Tensor, bias: Tensor) -> tuple[Any, ...]:
    """All samples by those of the batch: tables of one row, though the bias has one for each sample."""
    middle = mean.mean(0, keepdim=True)
    spread = (var + (mean - middle).square()).mean(0, keepdim=True)
    return *around(middle, (spread + 0.1).rsqrt() * weight[:1], bias), spread, 5


def by_others(mean: Tensor, var: Tensor, weight: Tensor, bias: Tensor) -> tuple[Any, ...]:
    """Moments that are constants."""
    mean, var = mean.detach(), var.detach()
    return *around(mean, (var.flip(0) + 0.1).sqrt() * weight, mean.flip(0) + bias), mean.flip(0), None


RULES = [by_own, by_batch, by_others, None]


def tensors(shape, layout=torch.contiguous_format, dtype=torch.float64) -> list[Tensor]:
    """Features and two tables, with gradients."""
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(shape, generator=generator, dtype=torch.float64) + torch.arange(shape[1]).view(
        -1, *(1,) * (len(shape) - 2)
    )
    tables = torch.rand(2, *shape[:2], generator=generator, dtype=torch.float64) + 0.5
    made = [x.contiguous(memory_format=layout), *tables]
    return [t.to(dtype).detach().requires_grad_() for t in made]


def call(function: Callable[..., Any], rule: Any, x: Tensor, *tables: Tensor) -> tuple[Any, ...]:
    """Without a rule the tables are scale, offset and centre."""
    return function(x, rule, *tables) if rule else function(x, None, *tables, torch.ones_like(tables[0]))


def loop(rule: Any, x: Tensor, *tables: Tensor) -> tuple[Tensor, Any]:
    """The definition, sample by sample and channel by channel."""
    n, c = x.shape[:2]
    parts = [[x[i, k].flatten() for k in range(c)] for i in range(n)]
    mean = torch.stack([torch.stack([p.sum() / p.numel() for p in row]) for row in parts])
    var = torch.stack([torch.stack([((p - p.sum() / p.numel()) ** 2).sum() / p.numel() for p in row]) for row in parts])
    scale, offset, centre, *others = rule(mean, var, *tables) if rule else (*tables, torch.ones_like(tables[0]))
    scale, offset, centre = (t.expand(n, c) for t in (scale, offset, centre))
    rows = [[(x[i, k] - centre[i, k]) * scale[i, k] + offset[i, k] for k in range(c)] for i in range(n)]
    return torch.stack([torch.stack(row) for row in rows]), others


@pytest.mark.parametrize("function", [renormalize, by_formula])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize(("shape", "layout"), LAYOUTS, ids=str)
@pytest.mark.parametrize("rule", RULES)
def test_values_and_gradients_equal_the_loop(rule, shape, layout, dtype, function, monkeypatch):
    monkeypatch.setattr(passes, "CHUNK", 2 * 21 * 8)  # some chunks, the last of them short
    own, exact = tensors(shape, layout, dtype), tensors(shape)
    (y, *others), (want, wanted) = call(function, rule, *own), loop(rule, *exact)
    assert y.dtype == dtype
    assert y.stride() == own[0].stride()
    tolerance: Any = {"rtol": 1e-4, "atol": 1e-5} if dtype == torch.float32 else {"rtol": 1e-10, "atol": 1e-10}
    g = torch.randn(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    loss, aim = (y.double() * g).sum(), (want * g).sum()
    for other, meant in zip(others, wanted, strict=True):
        if not isinstance(meant, Tensor):
            assert other == meant
            continue
        assert_close(other.double(), meant, **tolerance)
        assert other.requires_grad == meant.requires_grad
        loss, aim = loss + other.double().square().sum(), aim + meant.square().sum()
    assert_close(y.double(), want, **tolerance)
    found = torch.autograd.grad(loss, own, retain_graph=True)
    for mine, theirs in zip(found, torch.autograd.grad(aim, exact), strict=True):
        assert_close(mine.double(), theirs, **tolerance)
    assert_close(torch.autograd.grad(loss, own), found, rtol=0, atol=0)  # a second backward, like the first


def test_the_loop_catches_a_forgotten_path():
    """Meta: a gradient that does not flow through the moments must not pass."""
    own, exact = tensors((5, 3, 7)), tensors((5, 3, 7))

    def constant(mean: Tensor, var: Tensor, *tables: Tensor) -> tuple[Any, ...]:
        return by_own(mean.detach(), var.detach(), *tables)

    y, want = renormalize(own[0], constant, *own[1:])[0], loop(by_own, *exact)[0]
    assert_close(y, want)
    with pytest.raises(AssertionError):
        assert_close(torch.autograd.grad(y.sin().sum(), own), torch.autograd.grad(want.sin().sum(), exact))


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("rule", [by_own, by_batch, None])
def test_first_and_second_derivatives(rule, layout):
    own = tensors((2, 2, 3, 2), layout)

    def run(*inputs: Tensor) -> tuple[Tensor, ...]:
        return tuple(t for t in call(renormalize, rule, *inputs) if isinstance(t, Tensor) and t.requires_grad)

    assert gradcheck(run, own)
    assert gradgradcheck(run, own)


@pytest.mark.parametrize("rule", RULES)
def test_transforms_of_functions(rule):
    x, *tables = (t.detach() for t in tensors((4, 3, 7, 2)))

    def loss(x: Tensor) -> Tensor:
        return call(renormalize, rule, x, *tables)[0].sin().sum()

    assert_close(torch.func.grad(loss)(x), torch.autograd.functional.jacobian(loss, x))
    stacked = torch.stack([x, x + 1])
    by_hand = torch.stack([call(renormalize, rule, part, *tables)[0] for part in stacked])
    assert_close(torch.func.vmap(lambda x: call(renormalize, rule, x, *tables)[0])(stacked), by_hand)
    x.requires_grad_()
    y = call(renormalize, rule, x, *tables)[0]
    found = torch.func.vmap(lambda g: torch.autograd.grad(y, x, g, retain_graph=True)[0])(stacked)
    assert_close(found, torch.stack([torch.autograd.grad(y, x, g, retain_graph=True)[0] for g in stacked]))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("rule", RULES)
def test_half_in_half_out_computed_in_float32(rule, dtype):
    own = [t.detach().to(dtype).requires_grad_() for t in tensors((5, 3, 7, 2))]
    single = [t.detach().float().requires_grad_() for t in own]
    (y, *_), (want, *_) = call(renormalize, rule, *own), call(by_formula, rule, *single)
    assert y.dtype == dtype
    assert_close(y, want.to(dtype), rtol=2e-2, atol=2e-2)
    y.sum().backward()
    assert own[0].grad is not None
    assert own[0].grad.dtype == dtype


def test_features_that_the_passes_cannot_take():
    """Vectors, empty batches, gaps: by the formula."""
    x, weight, bias = tensors((5, 6, 7))
    for part in (x[:, ::2], x[:0, :3], x[..., 0][:, :3]):
        assert not passes.able(part)
        n = len(part)
        y = renormalize(part, by_own, weight[:n, :3], bias[:n, :3])[0]
        assert_close(y, loop(by_own, part, weight[:n, :3], bias[:n, :3])[0] if n else part)
        y.sum().backward()


@pytest.mark.parametrize("rule", [by_batch, None])
def test_compiled_equals_eager_in_one_graph(rule):
    torch._dynamo.reset()
    own = tensors((5, 3, 7, 2))

    def run(*inputs: Tensor) -> Tensor:
        return call(renormalize, rule, *inputs)[0]

    compiled: Any = torch.compile(run, backend="aot_eager", fullgraph=True)
    y, want = compiled(*own), run(*own)
    assert_close(y, want)
    assert_close(torch.autograd.grad(y.sin().sum(), own), torch.autograd.grad(want.sin().sum(), own))


@pytest.mark.parametrize("reentrant", [False, True])
@pytest.mark.parametrize("rule", RULES)
def test_checkpointing_changes_no_bit(rule, reentrant):
    own = tensors((5, 3, 7, 2), torch.channels_last)

    def loss(*inputs: Tensor) -> Tensor:
        y, *others = call(renormalize, rule, *inputs)
        return y.sin().sum() + (others[0].square().sum() if others else 0)

    plain = torch.autograd.grad(loss(*own), own)
    total: Any = checkpoint(loss, *own, use_reentrant=reentrant)
    total.backward()
    assert_close([t.grad for t in own], list(plain), rtol=0, atol=0)


@pytest.mark.parametrize("rule", RULES)
def test_features_are_kept_only_as_packed(rule):
    """So that activation checkpointing and offloading can free them."""
    assert not keeps_features(lambda x: rule)


def test_a_rule_that_holds_the_features_is_found():
    """Meta: why a rule may not."""
    assert keeps_features(lambda x: lambda *given: by_own(*given) if len(x) else ())


@pytest.mark.parametrize("again", [False, True])
def test_nothing_outlives_its_graph(again):
    """Autograd's nodes may hold their own outputs, as that of a root does: a cycle that the garbage collector cannot see."""
    made: list[ref[Tensor]] = []

    def rule(mean: Tensor, var: Tensor, *tables: Tensor) -> tuple[Any, ...]:
        root = var.sqrt()
        made.extend([ref(mean), ref(root)])
        return *around(mean, root * tables[0]), root

    x, weight, _ = tensors((5, 3, 7))
    y, root = renormalize(x, rule, weight)
    (y.sum() + root.sum()).backward(retain_graph=again)
    del y, root
    gc.collect()
    assert len(made) == 2
    assert not any(table() is not None for table in made)


def keeps_features(rule_for: Callable[[Tensor], Any]) -> bool:
    """Whether the graph of a call keeps its features, beside what saving them has packed."""
    packed: list[Tensor] = []

    def pack(t: Tensor) -> int:
        packed.append(t.detach().clone())
        return len(packed) - 1

    leaf, *tables = tensors((5, 3, 7, 2))
    x = leaf * 1
    features = ref(x)
    with saved_tensors_hooks(pack, packed.__getitem__):
        y = call(renormalize, rule_for(x), x, *tables)[0]
    del x
    gc.collect()
    assert y.requires_grad
    return features() is not None


def test_no_gradient_is_computed_that_nobody_needs(monkeypatch):
    x, weight, bias = tensors((5, 3, 7, 2))
    calls: list[str] = []

    def counted(name: str) -> None:
        inner = getattr(passes, name)
        monkeypatch.setattr(passes, name, lambda *a, **k: (calls.append(name), inner(*a, **k))[1])

    counted("sample_products")
    counted("affine")
    y = renormalize(x, None, weight.detach(), bias.detach(), bias.detach())[0]
    y.sum().backward()
    assert calls == ["affine", "affine"]  # the tables are constants: no sums
    calls.clear()
    y = renormalize(x.detach(), by_own, weight, bias)[0]
    y.sum().backward()
    assert calls == ["affine", "sample_products"]
    assert_close(bias.grad, torch.full_like(bias, 14))
    for context in (torch.no_grad, torch.inference_mode):
        with context():
            found = renormalize(x, by_own, weight, bias)
        assert not any(t.requires_grad for t in found)


def test_tables_changed_before_backward_are_an_error():
    x, weight, bias = tensors((5, 3, 7))
    y = renormalize(x, by_own, weight, bias)[0]
    with torch.no_grad():
        weight.add_(1)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        y.sum().backward()


@pytest.mark.filterwarnings("ignore:`torch.jit.script` is deprecated:FutureWarning")  # torch 2.15's own first use of it
@pytest.mark.parametrize("grad", [True, False])
def test_forward_mode_keeps_its_tangent(grad: bool):
    x, weight, bias = (t.detach() for t in tensors((5, 3, 7, 2)))
    tangent = torch.randn_like(x)
    with torch.set_grad_enabled(grad), forward_ad.dual_level():
        y = renormalize(forward_ad.make_dual(x, tangent), by_own, weight, bias)[0]
        found = forward_ad.unpack_dual(y).tangent
    ahead, behind = (renormalize(x + h * tangent, by_own, weight, bias)[0] for h in (1e-6, -1e-6))
    assert_close(found, (ahead - behind) / 2e-6)
