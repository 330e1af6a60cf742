"""The ways statistics go wrong elsewhere."""

import copy
import itertools
from typing import Any

import pytest
import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from torch.testing import assert_close
from torch.utils.checkpoint import checkpoint

import renorm
from tests.banks.models import Unknown, small, unchanged
from tests.distributed.ranks import on_ranks
from tests.oracles.statistics import pooled, seen_in_training


def images(*sizes: int, shift: float = 1.0) -> list[Tensor]:
    generator = torch.Generator().manual_seed(4)
    return [torch.randn((size, 3, 4, 4), generator=generator) + shift * i for i, size in enumerate(sizes)]


def split_model(norm: Any = nn.BatchNorm2d, dropout: float = 0.0) -> Any:
    model = small(norm, dropout=dropout).train()
    renorm.split_(model, ["weak", "strong"])
    return model


def statistics(model: nn.Module) -> dict[str, Tensor]:
    return {k: v.clone() for k, v in model.state_dict().items() if k.split(".")[-1].startswith(("running", "num"))}


def gradients(model: nn.Module) -> dict[str, Tensor]:
    return {k: p.grad.clone() for k, p in model.named_parameters() if p.grad is not None}


# 10. E[x^2] - E[x]^2 cancels.


@pytest.mark.parametrize("way", ["train", "measure", "adapt", "merge"])
def test_a_large_mean_does_not_cancel_the_variance(way: str):
    x = 100 + 0.01 * torch.randn((16, 3, 8, 8), generator=torch.Generator().manual_seed(4))
    mean, var, _ = pooled([x])
    model: Any = nn.Sequential(nn.BatchNorm2d(3, momentum=None)).train()
    if way == "train":
        renorm.split_(model, ["weak", "strong"])
        with renorm.route(model, torch.zeros(16).long()):
            model(x)
    elif way == "measure":
        renorm.recalibrate_(model, x.split(5))
    elif way == "adapt":
        renorm.adapt_(model, x, 0, foreign="adapt")
    else:
        renorm.install_(model, renorm.merge([renorm.measure(model, [part]) for part in x.split(5)]))
    assert_close(model[0].running_mean[:3].double(), mean, rtol=1e-6, atol=0)
    assert_close(model[0].running_var[:3].double(), var, rtol=1e-2, atol=0)
    naive = x.square().mean((0, 2, 3)) - x.mean((0, 2, 3)).square()
    with pytest.raises(AssertionError):
        assert_close(naive.double(), var, rtol=0.1, atol=0)


# 11. Unequal batches weighted equally; the spread of batch means dropped.


def test_batches_are_weighted_by_their_values_and_their_means_spread_the_variance():
    batches = [torch.randn((n, 3, 4, 4)) + shift for n, shift in ((24, 1.0), (1, -5.0))]
    model: Any = nn.Sequential(nn.BatchNorm2d(3))
    renorm.recalibrate_(model, batches)
    mean, var, _ = pooled(batches)
    assert_close(model[0].running_mean.double(), mean, rtol=1e-5, atol=1e-6)
    assert_close(model[0].running_var.double(), var, rtol=1e-5, atol=1e-6)
    torch.optim.swa_utils.update_bn(batches, model)
    for ours, theirs in ((mean, model[0].running_mean), (var, model[0].running_var)):
        with pytest.raises(AssertionError):
            assert_close(theirs.double(), ours, rtol=0.2, atol=0.2)


# 12. An exception or Ctrl-C half way.


@pytest.mark.parametrize("kind", [RuntimeError, KeyboardInterrupt])
@pytest.mark.parametrize("verb", ["measure", "recalibrate_", "adapt_", "using", "frozen_statistics", "route"])
@pytest.mark.parametrize("norm", [nn.BatchNorm2d, Unknown])
def test_an_interruption_leaves_everything_as_it_was(kind: type[BaseException], verb: str, norm: Any):
    model, (x,) = split_model(norm, dropout=0.5), images(4)
    bank = renorm.measure(model, [x], "strong")
    passes = itertools.count()

    def stop(*_: Any) -> None:
        if next(passes):
            raise kind("stop")

    def attempt() -> None:
        if verb in ("measure", "recalibrate_"):
            getattr(renorm, verb)(model, [x, x], "strong")
        elif verb == "adapt_":
            next(passes)
            renorm.adapt_(model, x, branch="strong")
        elif verb == "using":
            with renorm.using(model, bank, "strong"), renorm.route(model.eval(), "strong"):
                [model(x) for _ in range(2)]
        else:
            with renorm.frozen_statistics(model), renorm.route(model, "strong"):
                [model(x) for _ in range(2)]

    model.train(verb != "using")
    model[4].register_forward_hook(stop)
    with unchanged(model), pytest.raises(kind, match="stop"):
        attempt()
    with pytest.raises(RuntimeError, match="without a route"):
        model.train()(x)


# 13. A short loader asserts; an eval-mode model is a silent no-op; an unreached layer; buffers replaced.


def test_one_short_batch_is_enough_and_none_is_an_error():
    model = small()
    bank = renorm.measure(model, images(2))
    assert bank.samples == 2
    with unchanged(model), pytest.raises(ValueError, match="the batches were empty"):
        renorm.recalibrate_(model, [])


def test_a_model_in_evaluation_mode_is_measured_too():
    model, (x,) = small().eval(), images(4)
    before = statistics(model)
    renorm.recalibrate_(model, [x])
    assert not model[1].training
    with pytest.raises(AssertionError):
        assert_close(statistics(model), before, rtol=0.02, atol=0.02)


def test_a_layer_that_no_batch_reaches_keeps_what_it_has_and_is_said():
    model = small()
    model.add_module("unused", nn.BatchNorm2d(3))
    first: Any = lambda m, x: m[:7](x)  # noqa: E731
    with unchanged(model.get_submodule("unused")):
        report = renorm.recalibrate_(model, images(4), forward=first)
    assert report.unreached == ("unused",)
    assert "without 1 that nothing reached (unused)" in repr(report)
    report.undo()
    with unchanged(model), pytest.raises(ValueError, match=r"1 of 3 sites were not reached .* 'unused' first"):
        renorm.recalibrate_(model, images(4), forward=first, strict=True)


def test_buffers_are_filled_where_they_are():
    model, (x,) = small(), images(4)
    before = {k: v.data_ptr() for k, v in model.state_dict().items()}
    renorm.recalibrate_(model, [x])
    renorm.adapt_(model, x)
    renorm.install_(model, renorm.measure(model, [x])).undo()
    assert {k: v.data_ptr() for k, v in model.state_dict().items()} == before


# 14. Dropout while adapting; `.eval()` afterwards; both ends of the source weight.


def test_dropout_is_off_while_adapting_and_on_again():
    model, (x,) = small(dropout=0.9).train(), images(4)
    report = renorm.adapt_(model, x, 4)
    assert model[3].training
    assert_close(report.output, renorm.adapt_(small(dropout=0.0), x, 4).output, rtol=0, atol=0)


def test_evaluation_mode_afterwards_changes_nothing():
    model, (x,) = small().train(), images(4)
    report = renorm.adapt_(model, x, 4)
    assert_close(model.eval()(x), report.output, rtol=0, atol=0)
    assert_close(model.eval()(x[:1]), report.output[:1])


def test_the_ends_are_exactly_the_source_and_the_batch():
    model, (x,) = small().eval(), images(4)
    source = model(x)
    with unchanged(model):
        report = renorm.adapt_(model, x, float("inf"))
        assert_close(report.output, source, rtol=0, atol=0)
    renorm.adapt_(model, x, 0)
    mean, var, _ = pooled([model[0](x).detach()])
    assert_close(model[1].running_mean.double(), mean, rtol=1e-6, atol=1e-7)
    assert_close(model[1].running_var.double(), var, rtol=1e-6, atol=1e-7)


# 15. Checkpointing, SAM, accumulation, two forwards: one update per sample.


@pytest.mark.parametrize("reentrant", [True, False])
@pytest.mark.parametrize("norm", [nn.BatchNorm2d, Unknown])
def test_a_recomputed_forward_updates_once(reentrant: bool, norm: Any):
    plain, model, (x,) = split_model(norm), split_model(norm), images(6)
    with renorm.route(plain, "weak", "strong"):
        plain(x).square().sum().backward()
    with renorm.route(model, "weak", "strong"):
        y: Any = checkpoint(model, x.requires_grad_(), use_reentrant=reentrant)
        y.square().sum().backward()
    assert_close(statistics(model), statistics(plain), rtol=0, atol=0)
    assert_close(gradients(model), gradients(plain))


@pytest.mark.parametrize("norm", [nn.BatchNorm2d, Unknown])
@pytest.mark.parametrize("split", [True, False])
def test_sharpness_aware_steps_update_once(norm: Any, split: bool):
    """SAM: a gradient, a step uphill, the gradient there; only the first forward may move statistics."""
    model, (x,) = (split_model(norm) if split else small(norm, dropout=0.0).train()), images(6)
    once = copy.deepcopy(model)

    def loss(of: nn.Module) -> Tensor:
        if not split:
            return of(x).square().sum()
        with renorm.route(of, "weak", "strong"):
            return of(x).square().sum()

    loss(once)
    loss(model).backward()
    with torch.no_grad():
        for p in model.parameters():
            p.add_(0.01 * p.grad.sign())
            p.grad = None
    with renorm.frozen_statistics(model):
        uphill = loss(model)
    uphill.backward()
    assert_close(statistics(model), statistics(once), rtol=0, atol=0)
    assert len(gradients(model)) == len(list(model.parameters()))


def test_accumulated_gradients_update_once_for_each_part():
    model, parts = split_model(), images(4, 6)
    for x in parts:
        with renorm.route(model, "weak", "strong"):
            model(x).square().sum().backward()
    assert model[1].num_batches_tracked.tolist() == [2, 2]
    expected = small(dropout=0.0).train()
    for x in parts:
        expected(x[::2])
    assert_close(model[1].running_var.view(2, -1)[0], expected[1].running_var)


def test_two_forwards_before_backward():
    model, apart, (x, other) = split_model(), split_model(), images(4, 6)
    for each, branch in ((x, "weak"), (other, "strong")):
        with renorm.route(apart, branch):
            apart(each).square().sum().backward()
    losses = []
    for each, branch in ((x, "weak"), (other, "strong")):
        with renorm.route(model, branch):
            losses.append(model(each).square().sum())
    torch.stack(losses).sum().backward()
    assert_close(gradients(model), gradients(apart))
    assert_close(statistics(model), statistics(apart))
    assert model[1].num_batches_tracked.tolist() == [1, 1]


# 16. A branch that is not used in a step, under DDP.


class Naive(nn.Module):
    """A norm per branch in a list, as one would write it."""

    def __init__(self) -> None:
        super().__init__()
        self.norms, self.branch = nn.ModuleList([nn.BatchNorm2d(3), nn.BatchNorm2d(3)]), 0

    def forward(self, x: Tensor) -> Tensor:
        return self.norms[self.branch](x)


def in_parallel(rank: int) -> dict[str, Any]:
    found: dict[str, Any] = {}
    (x,) = images(4)
    x = x + rank
    unknown = split_model(Unknown)
    copies = DistributedDataParallel(unknown)
    for name in ("weak", "strong", "weak"):
        with renorm.route(copies, name):
            copies(x).square().sum().backward()
    found["copies"] = gradients(unknown)
    model = split_model()
    parallel = DistributedDataParallel(model)
    for specs in (("weak",), ("strong",), ("weak", "strong"), ({"weak": 1, "strong": 3},)):
        model.zero_grad()
        with renorm.route(parallel, *specs):
            parallel(x).square().sum().backward()
    found["gradients"] = gradients(model)
    found["counts"] = model[1].num_batches_tracked
    absent = split_model()
    with renorm.route(absent, "weak"):
        DistributedDataParallel(absent)(x).square().sum().backward()
    found["absent"] = absent[1].weight.grad.view(2, -1)[1]

    naive = DistributedDataParallel(Naive())
    try:
        for branch in (0, 1):
            naive.module.branch = branch
            naive(x).square().sum().backward()
        found["naive"] = "no error"
    except RuntimeError as error:
        found["naive"] = str(error)
    found["rank"] = dist.get_rank()
    return found


@pytest.mark.parametrize("norm", [nn.BatchNorm2d, Unknown])
def test_an_absent_branch_gets_gradients_of_zero_whatever_its_values(norm: Any):
    model, (x,) = split_model(norm), images(4)
    with torch.no_grad():
        for key, p in model.named_parameters():
            if "strong" in key:
                p.fill_(torch.nan)
    with renorm.route(model, "weak"):
        y = model(x)
    y.sum().backward()
    assert y.isfinite().all()
    assert list(gradients(model)) == [key for key, _ in model.named_parameters()]


def test_a_branch_without_samples_gets_zeros_and_no_error_under_ddp():
    first, second = on_ranks(2, in_parallel)
    assert_close(first["gradients"], second["gradients"], rtol=0, atol=0)
    assert_close(first["copies"], second["copies"], rtol=0, atol=0)
    assert first["counts"].tolist() == [3, 3]
    assert not first["absent"].any()
    assert "parameters that were not used in producing loss" in first["naive"]  # so the test can fail


# 17. Never updated or broken statistics; averaged weights with stale statistics.


@pytest.mark.parametrize("norm", [nn.BatchNorm2d, Unknown])
def test_a_branch_that_was_never_trained_cannot_be_folded_until_it_is_measured(norm: Any):
    model: Any = nn.Sequential(nn.Conv2d(3, 5, 3), norm(5)).train()
    renorm.split_(model, ["weak", "strong"])
    with renorm.route(model, "weak"):
        model(images(4)[0])
    with pytest.raises(ValueError, match=r"never saw a batch of branch 'strong'.* Measure them: renorm\.recalibrate_"):
        renorm.fold(model, "strong")
    renorm.fold(model, "weak")
    renorm.recalibrate_(model, images(4), "strong")
    renorm.fold(model, "strong")


@pytest.mark.parametrize("norm", [nn.BatchNorm2d, Unknown])
def test_broken_statistics_are_refused_before_inference(norm: Any):
    model = split_model(norm)
    renorm.Bank.of(model, "strong")
    with renorm.route(model, "strong"):
        model(images(4)[0] * torch.nan)
    with pytest.raises(ValueError, match=r"statistics of branch 'strong' that are not finite"):
        renorm.fold(model, "strong")
    with unchanged(model), pytest.raises(ValueError, match="not finite or negative"):
        renorm.install_(model, renorm.Bank.of(model, "strong"), "weak")
    renorm.fold(model, "weak")


def test_averaged_weights_get_statistics_of_their_own():
    model, batches = small(dropout=0.0).train(), images(6, 4, 8)
    averaged: Any = AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(0.5))
    optimizer = torch.optim.SGD(model.parameters(), 0.5)
    for x in batches:
        optimizer.zero_grad()
        model(x).square().mean().backward()
        optimizer.step()
        averaged.update_parameters(model)
    stale = statistics(averaged)
    renorm.recalibrate_(averaged, batches)
    expected = seen_in_training(averaged.module, batches)
    for name in ("1", "5"):
        mean, var, _ = pooled(expected[name])
        norm = averaged.module.get_submodule(name)
        assert_close(norm.running_mean.double(), mean, rtol=1e-5, atol=1e-5)
        assert_close(norm.running_var.double(), var, rtol=1e-5, atol=1e-5)
        with pytest.raises(AssertionError):
            assert_close(stale[f"module.{name}.running_mean"].double(), mean, rtol=0.02, atol=0.02)
