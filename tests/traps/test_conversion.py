"""What converters of norms got wrong elsewhere, and the right behaviour."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from timm.layers.norm_act import BatchNormAct2d, convert_sync_batchnorm
from torch import Tensor, nn
from torch.optim import SGD
from torch.testing import assert_close

import renorm
from renorm.layers import BranchCopies, SplitBatchNorm
from tests.surgery.zoo import CHANNELS, NORMS, around, from_timm, images, small, tensors

BRANCHES = ["weak", "strong"]


def exactly(a: Any, b: Any) -> None:
    assert_close(a, b, rtol=0, atol=0)


@pytest.mark.parametrize("name", ["efficientnet_b0", "regnety_002"])
def test_the_activation_of_a_fused_norm_is_kept(name: str):
    model, x = from_timm(name), torch.randn(2, 3, 64, 64)
    assert any(isinstance(m, BatchNormAct2d) for m in model.modules())
    with torch.no_grad():
        before = model(x).clone()
        renorm.split_(model, BRANCHES)
        exactly(model(x), before)


def test_mode_and_requires_grad_are_kept_layer_by_layer():
    model: Any = small()
    model[1].eval().requires_grad_(False)
    model[4].weight.requires_grad_(False)
    before = {name: p.requires_grad for name, p in model.named_parameters()}
    renorm.split_(model, BRANCHES)
    assert (model[1].training, model[4].training) == (False, True)
    assert {name: p.requires_grad for name, p in model.named_parameters()} == before
    statistics = model[1].running_mean.clone()
    with renorm.route(model, "weak", "strong"):
        model(images())
    exactly(model[1].running_mean, statistics)


def test_a_layer_used_twice_is_converted_once_with_its_hooks_and_does_not_nest():
    shared = nn.BatchNorm2d(3)
    model: Any = nn.Sequential(shared, nn.ReLU(), nn.ModuleDict({"again": shared})["again"])
    calls: list[str] = []
    handle = shared.register_forward_hook(lambda *args: calls.append("hook"))
    report = renorm.split_(model, BRANCHES)
    assert list(report.converted) == ["0"]
    assert model[0] is model[2]
    with renorm.route(model, "weak", "strong"):
        model(images())
    assert calls == ["hook", "hook"]
    handle.remove()
    model.eval()(images())
    assert len(calls) == 2
    with pytest.raises(ValueError, match=r"converted already: '0' has the branches \['weak', 'strong'\]"):
        renorm.split_(model, BRANCHES)
    assert not list(model[0].children())


@pytest.mark.parametrize("kind", NORMS)
def test_every_class_of_norm_runs_in_both_modes_by_every_route(kind: str):
    model, shape = around(NORMS[kind].make()), NORMS[kind].shape
    renorm.split_(model, BRANCHES)
    x = torch.randn(shape)
    for training in (True, False):
        model.train(training)
        for spec in (("weak",), ("strong", "weak"), ({"weak": 4, "strong": 2},), (torch.tensor([0, 1, 1, 0, 1, 0]),)):
            with renorm.route(model, *spec):
                assert model(x).shape == shape


def test_lazy_norms_and_roots_say_what_to_do():
    with pytest.raises(ValueError, match="Run one batch through the model first"):
        renorm.split_(nn.Sequential(nn.LazyBatchNorm2d()), BRANCHES)
    with pytest.raises(ValueError, match=r"the model itself is a norm .* Wrap it: nn.Sequential\(norm\)"):
        renorm.split_(nn.BatchNorm2d(3), BRANCHES)


@pytest.mark.parametrize("carry", [True, False])
def test_a_carried_optimizer_steps_the_living_parameters(carry: bool):
    model: Any = small()
    optimizer = SGD(model.parameters(), lr=0.1, momentum=0.9)
    renorm.split_(model, BRANCHES, optimizer=optimizer if carry else None)
    before = model[1].bias.detach().clone()
    with renorm.route(model, "weak", "strong"):
        model(images()).square().sum().backward()
    optimizer.step()
    assert torch.equal(model[1].bias, before) is not carry
    held = {id(p) for group in optimizer.param_groups for p in group["params"]}
    assert ({id(p) for p in model.parameters()} == held) is carry


def test_checkpoints_go_both_ways_and_exports_keep_no_other_branch():
    plain, model = small(), small()
    renorm.split_(model, BRANCHES)
    model.load_state_dict(plain.state_dict())
    with renorm.route(model, "weak", "strong"):
        model(images())
    folded = renorm.fold(model, "strong", probe=images())
    small().load_state_dict(folded.state_dict())
    assert sum(t.numel() for t in folded.state_dict().values()) == sum(t.numel() for t in plain.state_dict().values())


@pytest.mark.parametrize("kind", [kind for kind, case in NORMS.items() if case.known])
def test_affines_stay_one_dimensional(kind: str):
    model = around(NORMS[kind].make())
    ranks = {name: p.ndim for name, p in model.named_parameters()}
    renorm.split_(model, BRANCHES)
    assert {name: p.ndim for name, p in model.named_parameters()} == ranks


def test_a_rule_for_weight_decay_sorts_parameters_as_before():
    model = from_timm("resnet18")

    def decayed() -> set[str]:
        return {name for name, p in model.named_parameters() if p.ndim > 1}

    before = decayed()
    renorm.split_(model, BRANCHES)
    assert decayed() == before


def site(training: bool = True) -> Any:
    model: Any = around(nn.BatchNorm2d(CHANNELS)).train(training)
    renorm.split_(model, BRANCHES)
    return model


def batch(n: int) -> Tensor:
    return torch.randn(n, CHANNELS, 3, 7)


def test_a_batch_of_one_is_normalized_over_its_positions():
    model, plain, x = site(), around(nn.BatchNorm2d(CHANNELS)), batch(1)
    with renorm.route(model, "strong"):
        assert_close(model(x), plain(x))


def test_one_value_per_channel_is_an_error_in_training_only():
    model = around(nn.BatchNorm1d(CHANNELS))
    renorm.split_(model, BRANCHES)
    before = tensors(model)
    message = (
        r"site '0' got 1 value per channel for a branch, .*needs more than one. Use larger batches, or drop_last=True"
    )
    for spec in (("weak",), ({"weak": 3, "strong": 1},)):
        with renorm.route(model, *spec), pytest.raises(ValueError, match=message):
            model(torch.randn(1 if len(spec[0]) > 2 else 4, CHANNELS))
    exactly(tensors(model), before)
    with renorm.route(model.eval(), "weak"):
        model(torch.randn(1, CHANNELS))


@pytest.mark.parametrize("kind", ["2d", "unknown"])
def test_a_batch_smaller_than_the_number_of_branches(kind: str):
    model = around(NORMS[kind].make())
    renorm.split_(model, ["weak", "strong", "clean"])
    before = tensors(model)
    message = (
        r"batch of 2 cannot be interleaved over 3 branches \(site '0'\).*needs a multiple of 3. Set drop_last=True"
    )
    with renorm.route(model, "weak", "strong", "clean"), pytest.raises(ValueError, match=message):
        model(batch(2))
    exactly(tensors(model), before)
    with renorm.route(model, {"weak": 1, "clean": 1}):
        model(batch(2))


@pytest.mark.parametrize("kind", ["2d", "unknown"])
@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("sizes", [{"weak": 5, "strong": 2}, {"strong": 7, "weak": 0}, {"weak": 7}])
def test_uneven_and_empty_branches_are_each_their_own_plain_norm(kind: str, training: bool, sizes: dict[str, int]):
    model, x = around(NORMS[kind].make()).train(training), batch(7)
    parts = dict(zip(sizes, x.split(list(sizes.values())), strict=True))
    plain = {name: around(NORMS[kind].make()).train(training) for name in BRANCHES}
    expected = torch.cat([plain[name](part) for name, part in parts.items() if len(part)])
    renorm.split_(model, BRANCHES)
    with renorm.route(model, sizes):
        assert_close(model(x), expected)
    for name in BRANCHES:  # a branch without samples is as it was, its count too
        assert_close(tensors(renorm.fold(model, name)), tensors(plain[name]))


@pytest.mark.parametrize("sizes", [{"weak": 4, "strong": 2}, {"weak": 8, "strong": 6}])
def test_blocks_of_another_batch_are_an_error(sizes: dict[str, int]):
    message = rf"the route divides {sum(sizes.values())} samples, of a batch of 7 \(site '0'\).*Give the sizes or labels of this"
    model = site()
    with renorm.route(model, sizes), pytest.raises(ValueError, match=message):
        model(batch(7))


@pytest.mark.parametrize("name", ["resnet18", "regnety_002"])
def test_torchs_converter_to_sync_leaves_sites_alone(name: str):
    model, x = from_timm(name), torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        before = model(x).clone()
        report = renorm.split_(model, BRANCHES)
        sites = [id(m) for m in model.modules() if isinstance(m, SplitBatchNorm)]
        converted = nn.SyncBatchNorm.convert_sync_batchnorm(model)
        assert [id(m) for m in converted.modules() if isinstance(m, SplitBatchNorm)] == sites
        assert not any(isinstance(m, nn.SyncBatchNorm) for m in converted.modules())
        exactly(converted(x), before)
        exactly(renorm.fold(model, "strong", probe=x)(x), before)
        report.undo()
        exactly(model(x), before)


def test_torchs_converter_before_the_split_is_what_drops_activations():
    model, x = from_timm("regnety_002"), torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        before = model(x).clone()
        with pytest.raises(AssertionError):
            assert_close(nn.SyncBatchNorm.convert_sync_batchnorm(model).eval()(x), before)


def test_splitting_a_synchronized_model_sets_sync_and_keeps_activations():
    model, x = convert_sync_batchnorm(from_timm("regnety_002")).eval(), torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        before = model(x).clone()
        renorm.split_(model, BRANCHES)
        sites = [m for m in model.modules() if isinstance(m, SplitBatchNorm)]
        assert {m.sync for m in sites} == {"world"}
        exactly(model(x), before)


def test_unknown_norms_are_wrapped_not_dropped():
    model = around(NORMS["unknown"].make()).eval()
    x = batch(6)
    before = model(x).clone()
    renorm.split_(model, BRANCHES)
    assert isinstance(model[0], BranchCopies)
    exactly(model(x), before)
