"""What a conversion to sandwiches has beyond the contract that it shares with split, see test_convert."""

from __future__ import annotations

import copy
import pickle
from typing import Any

import pytest
import torch
import torch.distributed as dist
from torch import nn
from torch.optim import SGD, AdamW
from torch.testing import assert_close

import renorm
from renorm.layers import SandwichBatchNorm
from tests.surgery.test_convert import calls_of, exercise
from tests.surgery.zoo import CHANNELS, NORMS, around, from_timm, images, small, tensors

BRANCHES = ["clean", "adv"]
SHARES = [(), "statistics"]
KNOWN = [kind for kind, case in NORMS.items() if case.known]


def exactly(a: Any, b: Any) -> None:
    assert_close(a, b, rtol=0, atol=0)


def trained(model: Any, share: Any = (), **options: Any) -> Any:
    """A model whose branches differ in all that they have."""
    renorm.sandwich_(model, BRANCHES, share=share, **options)
    for shift, name in enumerate(BRANCHES):
        with renorm.route(model, name), torch.no_grad():
            model.train()(images().to(next(model.parameters())) * (1 + shift) + shift)
    vary_(model)
    return model


def vary_(model: Any) -> None:
    generator = torch.Generator().manual_seed(5)
    with torch.no_grad():
        for site in model.modules():
            if isinstance(site, SandwichBatchNorm):
                for p in site.parameters():
                    p.add_(0.5 * torch.randn(p.shape, generator=generator))


# --- conversion ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("share", SHARES, ids=str)
@pytest.mark.parametrize("kind", KNOWN)
def test_training_is_the_plain_norms_and_moves_the_affine_of_one_branch(kind: str, share: Any):
    case = NORMS[kind]
    model, x = around(case.make()).train(), torch.randn(case.shape, requires_grad=True)
    plain = copy.deepcopy(model)
    renorm.sandwich_(model, BRANCHES, share=share)
    torch.manual_seed(7)
    with renorm.route(model, "adv"):
        y = model(x)
        y.square().sum().backward()
    torch.manual_seed(7)
    assert_close(y, plain(x), rtol=1e-5, atol=1e-5)
    site: Any = model[0]
    for p in (site.branch_weight, site.branch_bias):
        if p is not None:
            assert not p.grad.view(2, -1)[0].any()
            assert p.grad.view(2, -1)[1].any()
    for key in ("running_mean", "running_var"):
        moved = getattr(site, key)
        if moved is not None and not share:
            assert_close(moved.view(2, -1)[1], plain[0].get_buffer(key))


@pytest.mark.parametrize("norm", ["unknown", "parametrized"])
def test_norms_of_unknown_classes_are_refused_and_nothing_changes(norm: str):
    model = nn.Sequential(nn.BatchNorm2d(3), around(NORMS[norm].make())[0])
    kept = list(model)
    message = (
        r"'1' \(\w+\) has a class renorm does not know, and a sandwich needs an affine.*Exclude it by sites=, or use"
    )
    with pytest.raises(ValueError, match=message):
        renorm.sandwich_(model, BRANCHES, share=())
    assert list(model) == kept
    renorm.sandwich_(model, BRANCHES, sites="0")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"share": "affine"},
            r"share='affine' was given for a sandwich.*Use share='statistics' or \(\), or renorm.split_",
        ),
        ({"init": "published"}, r"init='published' was given without a generator"),
        ({"init": "zeros"}, r"init='zeros' was given"),
        ({"share": (), "unknown": "shared"}, r"unknown='shared' was given for branches with statistics of their own"),
        ({"sites": "9"}, r"sites='9' matches no norm of this model"),
        ({"branches": ["clean", "unknown"]}, r"a branch 'unknown' was given"),
    ],
)
def test_what_cannot_be_is_refused_and_nothing_changes(options: Any, message: str):
    model = small()
    before = [id(m) for m in model.modules()]
    with pytest.raises(ValueError, match=message):
        renorm.sandwich_(model, options.pop("branches", BRANCHES), **options)
    assert [id(m) for m in model.modules()] == before
    assert not model._forward_hooks


def test_converted_models_are_not_converted_again():
    for first, second in ((renorm.split_, renorm.sandwich_), (renorm.sandwich_, renorm.split_)):
        model = small()
        first(model, BRANCHES)
        with pytest.raises(ValueError, match=r"converted already: '1' has the branches \['clean', 'adv'\]"):
            second(model, BRANCHES)


def test_mode_requires_grad_dtype_and_hooks_are_kept():
    model: Any = around(NORMS["2d"].make()).to(torch.bfloat16)
    model[0].bias.requires_grad_(False)
    calls, handles = calls_of(model, model[0])
    model.float()
    exercise(model)
    expected = list(calls)
    model.to(torch.bfloat16).eval()
    report = renorm.sandwich_(model, ["weak", "strong"])
    assert not any(m.training for m in model.modules())
    assert {p.dtype for p in model.parameters()} == {torch.bfloat16}
    assert {name for name, p in model.named_parameters() if not p.requires_grad} == {"0.bias", "0.branch_bias"}
    model.float().train()
    calls.clear()
    exercise(model)
    assert calls == expected
    for handle in handles.values():
        handle.remove()
    calls.clear()
    exercise(model)
    assert not calls
    report.undo(keep="weak")
    assert not model[0].bias.requires_grad


def test_norms_and_parameters_that_are_shared_stay_shared():
    once = nn.BatchNorm2d(3)
    model: Any = nn.Sequential(once, nn.BatchNorm2d(3), once)
    model[1].weight = once.weight
    renorm.sandwich_(model, BRANCHES)
    assert model[0] is model[2]
    assert model[0].weight is model[1].weight
    assert model[0].branch_weight is model[1].branch_weight
    assert model[0].branch_bias is not model[1].branch_bias
    folded: Any = renorm.fold(model, "adv")
    assert folded[0].weight is folded[1].weight
    assert folded[0].bias is not folded[1].bias


def test_only_a_shared_affine_that_two_sites_have_in_common_is_not_one_scale():
    model: Any = nn.Sequential(nn.BatchNorm2d(3), nn.BatchNorm2d(3))
    renorm.sandwich_(model, BRANCHES)
    model[1].weight = model[0].weight
    vary_(model)
    folded: Any = renorm.fold(model, "adv")
    assert not torch.equal(folded[0].weight, folded[1].weight)


def test_meta_models_are_converted_and_filled_later():
    source = small().eval()
    with torch.device("meta"):
        model = small().eval()
    renorm.sandwich_(model, BRANCHES)
    assert {t.device.type for t in (*model.parameters(), *model.buffers())} == {"meta"}
    model.load_state_dict(source.state_dict(), assign=True)
    with renorm.route(model, "adv"):
        exactly(model(images()), source(images()))


@pytest.mark.parametrize("how", ["deepcopy", "pickle", "file"])
def test_copies_and_files_keep_outputs_of_every_branch(how: str):
    model, x = trained(small(), share="statistics").eval(), images()
    if how == "file":
        other = small().eval()
        renorm.sandwich_(other, BRANCHES)
        other.load_state_dict(model.state_dict())
    else:
        other = copy.deepcopy(model) if how == "deepcopy" else pickle.loads(pickle.dumps(model))
    for branch in (*BRANCHES, "unknown"):
        with renorm.route(model, branch), renorm.route(other, branch):
            exactly(other(x), model(x))


def test_checkpoints_of_other_branches_or_kinds_are_refused():
    source, other, split = trained(small()), small(), small()
    renorm.sandwich_(other, ["adv", "clean"])
    renorm.split_(split, BRANCHES)
    with pytest.raises(RuntimeError, match=r"checkpoint has branches \['clean', 'adv'\], the model \['adv', 'clean'\]"):
        other.load_state_dict(source.state_dict())
    with pytest.raises(RuntimeError, match=r'Unexpected key\(s\) in state_dict: "1.branch_weight"'):
        split.load_state_dict(source.state_dict())
    with pytest.raises(RuntimeError, match=r"size mismatch for 1.weight"):
        trained(small()).load_state_dict(split.state_dict())


@pytest.mark.parametrize("name", ["resnet18", "efficientnet_b0"])
def test_the_contract_on_a_network_of_timm(name: str):
    model, x = from_timm(name), torch.randn(2, 3, 64, 64)
    objects, saved = {key: id(m) for key, m in model.named_modules()}, tensors(model)
    with torch.no_grad():
        before = model(x).clone()
        report = renorm.sandwich_(model, BRANCHES)
        assert not report.left
        with renorm.route(model, torch.tensor([1, -1])):
            assert_close(model(x), before, rtol=1e-4, atol=1e-4)
        exactly(model(x), before)
        exactly(renorm.fold(model, "adv", probe=x)(x), before)
        report.undo()
        exactly(model(x), before)
    assert {key: id(m) for key, m in model.named_modules()} == objects
    exactly(tensors(model), saved)


def test_a_wrapped_model_trains_with_absent_branches():
    dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)  # pyright: ignore[reportPrivateImportUsage]
    try:
        model = small()
        renorm.sandwich_(model, BRANCHES, share=())
        wrapped = nn.parallel.DistributedDataParallel(model)
        for spec in (("adv",), ("clean", "adv")):  # a second step waits for every gradient of the first
            with renorm.route(model, *spec):
                wrapped(images()).square().sum().backward()
        assert all(p.grad is not None for p in model.parameters())
        with pytest.raises(ValueError, match="wrapped in DistributedDataParallel"):
            renorm.sandwich_(wrapped, BRANCHES)
    finally:
        dist.destroy_process_group()


@pytest.mark.parametrize("branches", [10, "clean", ["clean", "clean"]], ids=str)
def test_branches_are_distinct_names(branches: Any):
    with pytest.raises(ValueError, match=r"branches=.* was given. Branches are a list of distinct names.*For example"):
        renorm.sandwich_(small(), branches)


# --- fold, undo, add -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("share", SHARES, ids=str)
def test_a_fold_is_the_merged_affine_to_the_bit(share: Any):
    model, x = trained(small(), share).eval(), images()
    for branch in (*BRANCHES, *(["unknown"] if share else [])):
        folded: Any = renorm.fold(model, branch, probe=x)
        assert type(folded[1]) is nn.BatchNorm2d
        with renorm.route(model, branch):
            exactly(folded(x), model(x))
    unknown: Any = renorm.fold(model, "unknown") if share else None
    assert unknown is None or torch.equal(unknown[1].weight, model[1].weight)
    if not share:
        with pytest.raises(ValueError, match="'unknown' is not a branch"):
            renorm.fold(model, "unknown")


@pytest.mark.parametrize("init", ["identity", "published"])
@pytest.mark.parametrize("kind", KNOWN)
def test_undo_gives_back_the_same_modules_and_values(kind: str, init: str):
    model = around(NORMS[kind].make())
    before, values = [id(m) for m in model.modules()], tensors(model)
    parameters = [id(p) for p in model.parameters()]
    renorm.sandwich_(model, BRANCHES, init=init, generator=torch.Generator().manual_seed(0)).undo()
    assert [id(m) for m in model.modules()] == before
    assert [id(p) for p in model.parameters()] == parameters
    exactly(tensors(model), values)


@pytest.mark.parametrize("init", ["identity", "published"])
@pytest.mark.parametrize(
    "key", ["weight", "bias", "branch_weight", "branch_bias", "running_mean", "num_batches_tracked"]
)
def test_undo_sees_a_change_of_any_tensor(key: str, init: str):
    model: Any = small()
    report = renorm.sandwich_(model, BRANCHES, init=init, generator=torch.Generator().manual_seed(0))
    tensor = getattr(model[4], key).data
    before = tensor.clone()
    tensor[-1] += 1
    with pytest.raises(RuntimeError, match=r"1 of 2 sites have changed since the conversion, '4' first"):
        report.undo()
    tensor.copy_(before)
    report.undo()


@pytest.mark.parametrize("keep", [*BRANCHES, "unknown"])
def test_undo_can_keep_the_merged_values_of_a_branch(keep: str):
    model, x = small(), images()
    objects = [id(p) for p in model.parameters()]
    report = renorm.sandwich_(model, BRANCHES)
    vary_(model)
    with renorm.route(model.eval(), keep):
        expected = model(x).clone()
    report.undo(keep=keep)
    assert [id(p) for p in model.parameters()] == objects
    exactly(model(x), expected)


@pytest.mark.parametrize("like", ["adv", "unknown"])
def test_a_branch_may_be_added_like_another_or_like_none(like: str):
    model, x = trained(small(), "statistics").eval(), images()
    expected = tensors(renorm.fold(model, like))
    before = tensors(renorm.fold(model, "clean"))
    added = renorm.add_branch_(model, "new", like=like)
    exactly(tensors(renorm.fold(model, "new", probe=x)), expected)
    exactly(tensors(renorm.fold(model, "clean")), before)
    with pytest.raises(ValueError, match="a branch 'unknown' was given"):
        renorm.add_branch_(model, "unknown", like="adv")
    added.undo()
    assert model.get_submodule("1").get_parameter("branch_weight").shape == (10,)
    assert model.get_submodule("1").get_parameter("weight").shape == (5,)


# --- optimizer -------------------------------------------------------------------------------------------------------


def names_in(optimizer: Any, model: nn.Module) -> list[list[str]]:
    names = {id(p): name for name, p in model.named_parameters()}
    return [[names[id(p)] for p in group["params"]] for group in optimizer.param_groups]


AFFINES = [f"{site}.{key}" for site in (1, 4) for key in ("weight", "bias")]
OWN = [f"{site}.branch_{key}" for site in (1, 4) for key in ("weight", "bias")]


@pytest.mark.parametrize("named", [False, True])
def test_affines_leave_a_group_with_weight_decay_and_undo_brings_them_back(named: bool):
    model = small()
    optimizer = SGD(model.named_parameters() if named else model.parameters(), lr=0.1, momentum=0.9, weight_decay=0.01)
    model(images()).square().sum().backward()
    optimizer.step()
    before, groups = names_in(optimizer, model), len(optimizer.param_groups)
    buffers = {name: optimizer.state[p]["momentum_buffer"].clone() for name, p in model.named_parameters()}
    report = renorm.sandwich_(model, BRANCHES, optimizer=optimizer)
    assert "their affines are in new groups of the optimizer, without weight decay" in repr(report)
    first, second = names_in(optimizer, model)
    assert sorted(first) == sorted(set(before[0]) - set(AFFINES))
    assert second == AFFINES + OWN
    assert [group["weight_decay"] for group in optimizer.param_groups] == [0.01, 0.0]
    assert optimizer.param_groups[1]["momentum"] == 0.9
    if named:
        assert [group["param_names"] for group in optimizer.param_groups] == [first, second]
    for name, p in model.named_parameters():
        if name in buffers:
            exactly(optimizer.state[p]["momentum_buffer"], buffers[name])
    report.undo()
    assert names_in(optimizer, model) == before
    assert len(optimizer.param_groups) == groups
    exactly({name: optimizer.state[p]["momentum_buffer"] for name, p in model.named_parameters()}, buffers)


def test_affines_stay_in_a_group_without_weight_decay():
    model = small()
    flat = [p for p in model.parameters() if p.ndim <= 1]
    decayed = {"params": [p for p in model.parameters() if p.ndim > 1], "weight_decay": 0.1}
    optimizer = AdamW([decayed, {"params": flat, "weight_decay": 0.0}])
    before = names_in(optimizer, model)
    report = renorm.sandwich_(model, BRANCHES, optimizer=optimizer)
    assert "new groups" not in repr(report)
    assert names_in(optimizer, model) == [before[0], before[1] + OWN]
    assert all(p.ndim == 1 for name, p in model.named_parameters() if name in AFFINES + OWN)  # as the rule needs it
    with renorm.route(model, "adv", "clean"):
        model(images()).square().sum().backward()
    optimizer.step()
    optimizer.add_param_group({"params": [nn.Parameter(torch.zeros(2))]})
    report.undo(keep="adv")
    assert [[id(p) for p in group["params"]] for group in optimizer.param_groups[:2]] == [
        [id(p) for p in model.parameters() if p.ndim > 1],
        [id(p) for p in flat],
    ]
    assert len(optimizer.param_groups) == 3
    assert {id(p) for p in optimizer.state} == {id(p) for p in model.parameters()}


def test_undo_after_a_branch_was_added_leaves_nothing_behind():
    model = small()
    optimizer = SGD(model.parameters(), lr=0.01, momentum=0.9, weight_decay=0.01)
    before = names_in(optimizer, model)
    report = renorm.sandwich_(model, BRANCHES, optimizer=optimizer)
    renorm.add_branch_(model, "new", like="adv", optimizer=optimizer)
    with renorm.route(model, "new", "clean"):
        model(images()).square().sum().backward()
    optimizer.step()
    report.undo(keep="new")
    assert names_in(optimizer, model) == before
    assert {id(p) for p in optimizer.state} == {id(p) for p in model.parameters()}


def test_what_the_optimizer_does_not_hold_stays_out_of_it():
    model: Any = small()
    optimizer = SGD([model[0].weight, model[1].weight], lr=0.1)
    renorm.sandwich_(model, BRANCHES, optimizer=optimizer)
    assert names_in(optimizer, model) == [["0.weight", "1.weight", "1.branch_weight"]]
    with pytest.raises(ValueError, match="optimizer= holds none of the parameters"):
        renorm.sandwich_(small(), BRANCHES, optimizer=optimizer)


def test_steps_after_conversion_are_those_of_the_formula():
    """Gradients of both affines are those of two norms after each other; the optimizer moves all of them."""
    model, x = small(torch.float64), images().double()
    optimizer = SGD(model.parameters(), lr=0.01, momentum=0.9, weight_decay=0.01)
    renorm.sandwich_(model, BRANCHES, optimizer=optimizer)
    before = tensors(model)
    for _ in range(3):
        optimizer.zero_grad()
        with renorm.route(model, torch.tensor([0, 1, 1, -1, 0, -1])):
            model(x).square().sum().backward()
        optimizer.step()
    moved = {key for key, value in model.state_dict().items() if not torch.equal(value, before[key])}
    assert {*AFFINES, *OWN} <= moved


# --- that these laws can fail ----------------------------------------------------------------------------------------


def test_the_law_of_folding_catches_a_bias_that_is_not_scaled():
    """Meta: merging gamma_i * gamma and beta_i + beta, the easy mistake, must not pass as the merge."""
    model, x = trained(small(), "statistics").eval(), images()
    folded: Any = renorm.fold(model, "adv")
    site: Any = model[1]
    folded[1].bias.data = (site.bias + site.branch_bias.view(2, -1)[1]).detach()
    with renorm.route(model, "adv"), pytest.raises(AssertionError):
        assert_close(folded(x), model(x), rtol=1e-3, atol=1e-3)


def test_the_law_of_training_catches_weight_decay_on_the_factors():
    """Meta: what the groups are for. Decay alone pulls the product down twice as fast as one scale."""
    model = small()
    renorm.sandwich_(model, BRANCHES)
    naive, carried = SGD(model.parameters(), lr=1.0, weight_decay=0.1), small()
    optimizer = SGD(carried.parameters(), lr=1.0, weight_decay=0.1)
    renorm.sandwich_(carried, BRANCHES, optimizer=optimizer)
    before: Any = tensors(renorm.fold(carried, "adv"))
    for each, stepped in ((model, naive), (carried, optimizer)):
        for p in each.parameters():
            p.grad = torch.zeros_like(p)
        stepped.step()
    exactly(tensors(renorm.fold(carried, "adv"))["1.weight"], before["1.weight"])
    assert_close(tensors(renorm.fold(model, "adv"))["1.weight"], 0.81 * before["1.weight"])
    assert len(before["1.weight"]) == CHANNELS
