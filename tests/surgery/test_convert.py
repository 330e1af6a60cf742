from __future__ import annotations

import copy
import pickle
from collections.abc import Iterable
from contextlib import nullcontext
from typing import Any

import pytest
import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.utils import prune
from torch.testing import assert_close

import renorm
from renorm.layers import BranchCopies, SplitBatchNorm
from renorm.routing import Route, routes_of
from tests.surgery.zoo import CASES, CHANNELS, NORMS, TIMM, Case, around, from_timm, images, small, tensors, twin

BRANCHES = ["weak", "strong"]
SHARES = [(), "statistics", "affine", ("statistics", "affine")]


def exactly(a: Any, b: Any) -> None:
    assert_close(a, b, rtol=0, atol=0)


def site_of(model: Any, index: int = 0) -> Any:
    return model[index]


# --- every class of norm ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("convert", "case"), CASES)
def test_evaluation_is_equal_to_the_bit_by_any_branch(convert: Any, case: Case):
    model, x = around(case.make()).eval(), torch.randn(case.shape)
    before = model(x).clone()
    convert(model, BRANCHES)
    assert isinstance(model[0], BranchCopies) is not case.known
    exactly(model(x), before)
    for branch in BRANCHES:
        with renorm.route(model, branch):
            exactly(model(x), before)


@pytest.mark.parametrize("case", NORMS.values(), ids=NORMS)
def test_training_is_the_plain_norms_and_moves_one_branch(case: Case):
    model, x = around(case.make()).train(), torch.randn(case.shape)
    plain = twin(model)
    renorm.split_(model, BRANCHES)
    untouched = tensors(renorm.fold(model, "weak"))
    torch.manual_seed(7)
    expected = plain(x)
    torch.manual_seed(7)
    with renorm.route(model, "strong"):
        assert_close(model(x), expected)
    assert_close(tensors(renorm.fold(model, "strong")), tensors(plain))
    for key, value in untouched.items():
        branch = model.state_dict().get(f"0.weak.{key.removeprefix('0.')}")
        if branch is None:
            saved = model.state_dict()[key]
            branch = saved.view(2, -1)[0].view(value.shape) if saved.shape != value.shape else saved
        exactly(branch, value)


@pytest.mark.parametrize(("convert", "case"), CASES)
def test_keys_shapes_and_class_come_back_by_fold_and_undo(convert: Any, case: Case):
    model = around(case.make())
    norm, before = model[0], tensors(model)
    report = convert(model, BRANCHES)
    folded = renorm.fold(model, "strong", probe=torch.randn(case.shape))
    assert type(site_of(folded)) is type(norm)
    assert repr(folded) == repr(twin(nn.Sequential(norm)))
    exactly(tensors(folded), before)
    report.undo()
    assert model[0] is norm
    exactly(tensors(model), before)


@pytest.mark.parametrize(("convert", "case"), CASES)
def test_the_report_names_what_was_converted(convert: Any, case: Case):
    model = around(case.make())
    kind = type(model[0]).__name__
    report = convert(model, BRANCHES)
    assert report.converted == {"0": kind}
    assert f"1 sites now have the branches weak, strong.\n  {kind} -> {type(model[0]).__name__}: 0" in repr(report)


def test_children_of_a_fused_norm_keep_their_names_and_stay_the_same_objects():
    model = around(NORMS["fused PReLU"].make())
    act, drop, keys = site_of(model).act, site_of(model).drop, set(model.state_dict())
    renorm.split_(model, BRANCHES)
    assert site_of(model).act is act
    assert site_of(model).drop is drop
    assert set(model.state_dict()) == keys | {"0.branches"} >= {"0.act.weight"}


def test_a_fused_norms_activation_is_trained_by_every_branch():
    model = around(NORMS["fused PReLU"].make())
    renorm.split_(model, BRANCHES)
    with renorm.route(model, "weak", "strong"):
        model(torch.randn(6, CHANNELS, 3, 7)).sum().backward()
    assert site_of(model).act.weight.grad is not None


FROZEN = [("torchvision.ops", "FrozenBatchNorm2d"), ("timm.layers", "FrozenBatchNormAct2d")]


@pytest.mark.parametrize(("library", "name"), FROZEN)
def test_frozen_norms_are_reported_and_left_alone(library: str, name: str):
    model = nn.Sequential(nn.BatchNorm2d(3), getattr(pytest.importorskip(library), name)(3))
    kept = model[1]
    report = renorm.split_(model, BRANCHES)
    assert report.converted == {"0": "BatchNorm2d"}
    assert report.left == {"1": "its statistics are frozen constants"}
    assert "left alone: 1 (its statistics are frozen constants)" in repr(report)
    assert model[1] is kept


@pytest.mark.parametrize(("library", "name"), FROZEN)
def test_frozen_norms_alone_are_no_norms_to_convert(library: str, name: str):
    model = nn.Sequential(getattr(pytest.importorskip(library), name)(3))
    with pytest.raises(ValueError, match=rf"Sequential has no norm to convert: .*{name}, and left alone are 0"):
        renorm.split_(model, BRANCHES)


def test_lazy_norms_are_refused_with_the_remedy_and_nothing_changes():
    model = nn.Sequential(nn.BatchNorm2d(3), nn.LazyBatchNorm2d())
    with pytest.raises(ValueError, match=r"'1' \(LazyBatchNorm2d\).*has no channels yet. Run one batch through"):
        renorm.split_(model, BRANCHES)
    assert type(model[0]) is nn.BatchNorm2d
    model(torch.randn(2, 3, 5, 7))
    assert set(renorm.split_(model, BRANCHES).converted) == {"0", "1"}


def test_lazy_norms_can_be_excluded():
    model = nn.Sequential(nn.BatchNorm2d(3), nn.LazyBatchNorm2d())
    report = renorm.split_(model, BRANCHES, sites="0")
    assert report.left == {"1": "not among sites="}


def test_a_sync_norm_sets_sync_and_an_argument_has_precedence():
    model = nn.Sequential(nn.SyncBatchNorm(3), nn.BatchNorm2d(3))
    renorm.split_(model, BRANCHES)
    assert [m.sync for m in model if isinstance(m, SplitBatchNorm)] == ["world", None]
    model = nn.Sequential(nn.BatchNorm2d(3))
    renorm.split_(model, BRANCHES, sync="world")
    assert site_of(model).sync == "world"


def test_norms_without_statistics_of_batches_stay():
    model = nn.Sequential(nn.GroupNorm(1, 3), nn.InstanceNorm2d(3), nn.LayerNorm(7), nn.BatchNorm2d(3))
    assert set(renorm.split_(model, BRANCHES).converted) == {"3"}


def test_unknown_norms_take_nothing_that_only_rows_of_tensors_can_do():
    model = around(NORMS["unknown"].make())
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    cases: list[tuple[dict[str, Any], str]] = [
        ({"share": "affine"}, "share= was given"),
        ({"optimizer": optimizer}, "optimizer= was given"),
        ({"sync": "world", "init": "published"}, "sync= and init= were given"),
    ]
    for given, message in cases:
        start = r"'0' \(Doubling\) has a class renorm does not know, and "
        with pytest.raises(ValueError, match=rf"{start}{message}. Such norms are copied whole. Exclude it by sites="):
            renorm.split_(model, BRANCHES, **given)


def test_a_known_class_with_parts_of_its_own_counts_as_unknown():
    norm = nn.BatchNorm2d(CHANNELS)
    norm.register_module("extra", nn.ReLU())  # which its forward never calls
    model, x = around(norm).eval(), torch.randn(2, CHANNELS, 3, 7)
    before = model(x).clone()
    renorm.split_(model, BRANCHES)
    assert isinstance(model[0], BranchCopies)
    exactly(model(x), before)


def test_a_norm_whose_weights_are_made_by_hooks_is_refused():
    model = nn.Sequential(prune.l1_unstructured(nn.BatchNorm2d(CHANNELS), "weight", 2))
    with pytest.raises(ValueError, match=r"'0' \(BatchNorm2d\).*weight_orig.*prune.remove"):
        renorm.split_(model, BRANCHES)


@pytest.mark.parametrize("branch", ["train", "half", "of"])
def test_branches_may_be_called_like_attributes_of_modules(branch: str):
    model = around(NORMS["unknown"].make())
    renorm.split_(model, ["weak", branch])
    with renorm.route(model, branch):
        model(torch.randn(6, CHANNELS, 3, 7))
    copies = model[0]
    assert isinstance(copies, BranchCopies)
    assert [int(c.get_buffer("num_batches_tracked")) for c in copies.children()] == [13, 14]


@pytest.mark.parametrize("branch", ["training", "name", "route"])
def test_names_that_a_copied_norm_cannot_have_are_refused_and_nothing_changes(branch: str):
    model = nn.Sequential(nn.BatchNorm2d(3), around(NORMS["unknown"].make())[0])
    kept = list(model)
    message = rf"a branch '{branch}' was given for a norm that is copied whole \(Doubling\).*is taken. Choose another"
    with pytest.raises(ValueError, match=message):
        renorm.split_(model, ["weak", branch])
    assert list(model) == kept
    renorm.split_(model, BRANCHES)
    before = tensors(model)
    with pytest.raises(ValueError, match=message):
        renorm.add_branch_(model, branch, like="weak")
    exactly(tensors(model), before)
    assert routes_of(model)[0].branches == ("weak", "strong")


# --- mode, requires_grad, dtype, sharing, hooks ----------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["2d", "fused PReLU", "unknown"])
@pytest.mark.parametrize("training", [True, False])
def test_mode_and_requires_grad_are_kept(kind: str, training: bool):
    model = around(NORMS[kind].make()).train(training)
    model[0].get_parameter("bias").requires_grad_(False)
    report = renorm.split_(model, BRANCHES)
    assert {m.training for m in model.modules()} == {training}
    made = {name: p.requires_grad for name, p in model.named_parameters()}
    assert {name.split(".")[-1] for name, on in made.items() if not on} == {"bias"}
    folded = site_of(renorm.fold(model, "weak"))
    assert not folded.get_parameter("bias").requires_grad
    assert folded.get_parameter("weight").requires_grad
    report.undo()
    assert model.training is training
    assert not model[0].get_parameter("bias").requires_grad


@pytest.mark.parametrize("kind", ["fused drop", "unknown"])
def test_modes_inside_a_norm_are_kept_and_given_back(kind: str):
    norm = NORMS[kind].make().eval()
    norm.register_module("drop", norm._modules.get("drop") or nn.Dropout())
    norm.get_submodule("drop").train()
    model = nn.Sequential(norm)
    before = [m.training for m in model.modules()]
    report = renorm.split_(model, BRANCHES)
    assert all(m.training for name, m in model.named_modules() if name.endswith("drop"))
    assert not any(m.training for name, m in model.named_modules() if name.startswith("0") and "drop" not in name[1:])
    report.undo()
    assert [m.training for m in model.modules()] == before


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64])
@pytest.mark.parametrize("kind", ["2d", "fused", "unknown", "track_running_stats=False"])
def test_dtypes_are_kept(dtype: torch.dtype, kind: str):
    model, x = around(NORMS[kind].make()).eval().to(dtype), torch.randn(6, CHANNELS, 3, 7).to(dtype)
    before, saved = model(x).clone(), tensors(model)
    report = renorm.split_(model, BRANCHES)
    assert {t.dtype for t in model.state_dict().values() if t.is_floating_point()} <= {dtype}
    if kind == "track_running_stats=False":  # normalized by the batch, of which statistics are at least float32
        assert_close(model(x), before, rtol=0.02, atol=0.02)
    else:
        exactly(model(x), before)
    exactly(tensors(renorm.fold(model, "weak", probe=x)), saved)
    report.undo()
    exactly(tensors(model), saved)


def test_channels_last_is_kept():
    model: Any = small().eval()
    model.to(memory_format=torch.channels_last)
    x = images().to(memory_format=torch.channels_last)
    before = model(x).clone()
    features = model[:5](x)
    renorm.split_(model, BRANCHES)
    exactly(model(x), before)
    assert model[:5](x).stride() == features.stride()
    assert model[:5](x).is_contiguous(memory_format=torch.channels_last)
    exactly(renorm.fold(model, "strong", probe=x)(x), before)


def test_meta_models_are_converted_and_filled_later():
    source = small().eval()
    with torch.device("meta"):
        model = small().eval()
    report = renorm.split_(model, BRANCHES)
    assert {t.device.type for t in (*model.parameters(), *model.buffers())} == {"meta"}
    assert model(images().to("meta")).shape == (6, 11)
    assert renorm.fold(model, "weak").state_dict().keys() == source.state_dict().keys()
    model.load_state_dict(source.state_dict(), assign=True)
    with renorm.route(model, "strong"):
        exactly(model(images()), source(images()))
    with pytest.raises(RuntimeError, match="have changed since"):
        report.undo()
    report.undo(keep="weak")
    exactly(tensors(model), tensors(source))


def test_meta_models_are_undone():
    with torch.device("meta"):
        model = small()
    objects = [id(model[1]), id(model[4]), *map(id, model.parameters())]
    renorm.split_(model, BRANCHES).undo()
    assert [id(model[1]), id(model[4]), *map(id, model.parameters())] == objects


def test_a_norm_used_twice_stays_one_object_and_is_saved_once():
    shared = nn.BatchNorm2d(3)
    model = nn.Sequential(around(shared)[0], nn.Conv2d(3, 3, 1), shared).eval().requires_grad_(False)
    x = torch.randn(2, 3, 5, 7)
    before = model(x).clone()
    report = renorm.split_(model, BRANCHES)
    assert model[0] is model[2]
    assert list(report.converted) == ["0"]
    assert not model[0].training
    assert not any(p.requires_grad for p in model.parameters())
    assert len(list(model.parameters())) == 4
    exactly(model(x), before)
    folded = renorm.fold(model, "weak", probe=x)
    assert site_of(folded, 0) is site_of(folded, 2)
    report.undo()
    assert model[0] is model[2] is shared


def test_parameters_that_two_norms_share_stay_shared():
    model = nn.Sequential(nn.BatchNorm2d(3), nn.BatchNorm2d(3))
    model[1].register_parameter("weight", model[0].get_parameter("weight"))
    renorm.split_(model, BRANCHES)
    assert site_of(model, 0).weight is site_of(model, 1).weight
    assert site_of(model, 0).bias is not site_of(model, 1).bias
    renorm.add_branch_(model, "clean", like="weak")
    assert site_of(model, 0).weight is site_of(model, 1).weight
    assert site_of(model, 0).weight.shape == (9,)


def calls_of(model: nn.Module, norm: nn.Module) -> tuple[list[str], dict[str, Any]]:
    """Every kind of hook on a norm, writing to a list; and their handles."""
    calls: list[str] = []

    def note(name: str, result: Any = None) -> Any:
        def hook(*args: Any, **kwargs: Any) -> Any:
            calls.append(name)
            return result

        return hook

    return calls, {
        "pre": norm.register_forward_pre_hook(note("pre")),
        "pre with kwargs": norm.register_forward_pre_hook(note("pre with kwargs"), with_kwargs=True),
        "forward": norm.register_forward_hook(note("forward")),
        "forward with kwargs": norm.register_forward_hook(note("forward with kwargs"), with_kwargs=True),
        "always": norm.register_forward_hook(note("always"), always_call=True),
        "backward": norm.register_full_backward_hook(note("backward")),
        "backward pre": norm.register_full_backward_pre_hook(note("backward pre")),
        "saved": norm.register_state_dict_post_hook(note("saved")),
        "saving": norm.register_state_dict_pre_hook(note("saving")),
        "loading": norm.register_load_state_dict_pre_hook(note("loading")),
        "loaded": norm.register_load_state_dict_post_hook(note("loaded")),
    }


def exercise(model: nn.Module, shape: Iterable[int] = (6, CHANNELS, 3, 7)) -> None:
    x = torch.randn(tuple(shape), requires_grad=True)
    branched = any(isinstance(vars(m).get("route"), Route) for m in model.modules())
    with renorm.route(model, "weak") if branched else nullcontext():
        model(x).sum().backward()
    model.load_state_dict(model.state_dict())


@pytest.mark.parametrize("kind", ["2d", "fused", "unknown"])
def test_every_hook_is_called_once_after_conversion_and_its_handle_removes_it(kind: str):
    model = around(NORMS[kind].make())
    calls, handles = calls_of(model, model[0])
    exercise(model)
    expected = list(calls)
    assert set(expected) == set(handles)
    renorm.split_(model, BRANCHES)
    calls.clear()
    exercise(model)
    assert calls == expected
    for name, handle in handles.items():
        handle.remove()
        calls.clear()
        exercise(model)
        assert name not in calls
    assert not calls


@pytest.mark.parametrize("kind", ["2d", "unknown"])
def test_a_hook_put_on_a_site_is_on_the_norm_after_undo(kind: str):
    model = around(NORMS[kind].make())
    report = renorm.split_(model, BRANCHES)
    calls, handles = calls_of(model, model[0])
    report.undo()
    calls.clear()
    exercise(model)
    assert set(calls) == set(handles)
    handles["backward"].remove()
    calls.clear()
    exercise(model)
    assert "backward" not in calls


def test_folding_calls_no_hook_of_a_site():
    model = around(NORMS["2d"].make())
    renorm.split_(model, BRANCHES)
    seen: list[Tensor] = []
    site_of(model).register_forward_hook(lambda module, args, output: seen.append(output))
    renorm.fold(model, "weak")
    assert not seen


# --- which sites -----------------------------------------------------------------------------------------------------


class Residual(nn.Module):
    """Two sites below each other."""

    def __init__(self) -> None:
        super().__init__()
        self.bn1, self.bn2 = nn.BatchNorm2d(3), nn.BatchNorm2d(3)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.bn2(self.bn1(x))


def residual() -> nn.Module:
    model = nn.Module()
    model.stem, model.layer1, model.layer2 = nn.BatchNorm2d(3), Residual(), Residual()
    return model


@pytest.mark.parametrize(
    ("sites", "expected"),
    [
        (None, ["stem", "layer1.bn1", "layer1.bn2", "layer2.bn1", "layer2.bn2"]),
        ("layer1.bn2", ["layer1.bn2"]),
        ("layer1.*", ["layer1.bn1", "layer1.bn2"]),
        ("*bn2", ["layer1.bn2", "layer2.bn2"]),
        ("layer[13].bn?", ["layer1.bn1", "layer1.bn2"]),
        (["layer2.*", "stem"], ["stem", "layer2.bn1", "layer2.bn2"]),
        (["layer1.*", "*.bn1"], ["layer1.bn1", "layer1.bn2", "layer2.bn1"]),
        (lambda name, module: name.startswith("l") and name.endswith("1"), ["layer1.bn1", "layer2.bn1"]),
        (lambda name, module: isinstance(module, nn.BatchNorm2d) and name == "stem", ["stem"]),
    ],
)
def test_sites_by_name_glob_list_or_predicate(sites: Any, expected: list[str]):
    model = residual()
    report = renorm.split_(model, BRANCHES, sites=sites)
    assert list(report.converted) == expected
    assert [name for name, m in model.named_modules() if isinstance(m, SplitBatchNorm)] == expected
    assert set(report.left.values()) <= {"not among sites="}
    assert len(report.left) + len(expected) == 5


def test_a_name_that_matches_nothing_lists_close_matches():
    model = residual()
    message = r"sites='layer1.bn3' matches no norm.*has 5.*Close matches: \['layer1.bn2', 'layer1.bn1', 'layer2.bn2'\]"
    with pytest.raises(ValueError, match=message):
        renorm.split_(model, BRANCHES, sites=["stem", "layer1.bn3"])
    assert type(model.stem) is nn.BatchNorm2d


@pytest.mark.parametrize("sites", [[], lambda name, module: False])
def test_sites_that_choose_nothing_are_an_error(sites: Any):
    with pytest.raises(ValueError, match=r"no norm to convert: it has BatchNorm2d, and left alone are .*widen sites="):
        renorm.split_(residual(), BRANCHES, sites=sites)


@pytest.mark.parametrize(
    ("model", "had"),
    [
        (nn.Sequential(nn.Linear(3, 5)), "no normalization layer at all"),
        (nn.Sequential(nn.LayerNorm(5), nn.GroupNorm(1, 3)), "it has GroupNorm, LayerNorm"),
    ],
)
def test_a_model_without_norms_to_convert_is_an_error(model: nn.Module, had: str):
    with pytest.raises(ValueError, match=rf"Sequential has no norm to convert: .*{had}.*Use a model with batch norm"):
        renorm.split_(model, BRANCHES)


def test_only_the_chosen_sites_need_a_rule():
    model = nn.Sequential(nn.BatchNorm2d(3), around(NORMS["unknown"].make())[0])
    other = model[1]
    renorm.split_(model, BRANCHES, sites="0", share="statistics")
    assert isinstance(model[0], SplitBatchNorm)
    assert model[1] is other


# --- share -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("share", SHARES, ids=str)
@pytest.mark.parametrize("kind", ["2d", "affine=False", "fused PReLU", "without bias"])
def test_what_is_shared_has_one_row_and_outputs_are_equal(share: Any, kind: str):
    model, x = around(NORMS[kind].make()).eval(), torch.randn(6, CHANNELS, 3, 7)
    before, saved = model(x).clone(), tensors(model)
    renorm.split_(model, ["weak", "strong", "clean"], share=share)
    site = site_of(model)
    rows = {"statistics": ("running_mean", "running_var"), "affine": ("weight", "bias")}
    for name, keys in rows.items():
        for key in keys:
            if getattr(site, key) is not None:
                assert getattr(site, key).shape == ((1 if name in share else 3) * CHANNELS,)
    assert site.num_batches_tracked.shape == ((1 if "statistics" in share else 3),)
    for spec in ((), ("strong",), ("strong", "clean"), ({"clean": 5, "weak": 1},), (torch.tensor([0, 1, 2, 2, 1, 0]),)):
        if not spec:
            exactly(model(x), before)
            continue
        with renorm.route(model, *spec):
            assert_close(model(x), before)
    folded = renorm.fold(model, "clean", probe=x)
    exactly(tensors(folded), saved)


def test_an_unknown_share_is_an_error():
    with pytest.raises(
        ValueError, match=r"share='moments' was given. Branches can share \['statistics', 'affine'\]. Use"
    ):
        renorm.split_(small(), BRANCHES, share="moments")


# --- errors and wrappers ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("branches", ["weak", [], ["weak", "weak"], ["a.b"], ["a@b"], [""], [0, 1]])
def test_branches_are_distinct_names(branches: Any):
    with pytest.raises(ValueError, match=r"branches=.* was given. Branches are a list of distinct names.*For example"):
        renorm.split_(small(), branches)


@pytest.mark.parametrize("kind", ["2d", "unknown"])
def test_converting_twice_is_refused_and_names_the_branches(kind: str):
    model = around(NORMS[kind].make())
    renorm.split_(model, BRANCHES)
    message = r"converted already: '0' has the branches \['weak', 'strong'\].*add_branch_, or undo"
    with pytest.raises(ValueError, match=message):
        renorm.split_(model, ["clean", "adv"])
    assert routes_of(model)[0].branches == ("weak", "strong")


@pytest.mark.parametrize("kind", NORMS)
def test_a_root_that_is_a_norm_is_refused_with_the_remedy(kind: str):
    norm = NORMS[kind].make()
    with pytest.raises(ValueError, match=rf"model itself is a norm \({type(norm).__name__}\).*nn.Sequential\(norm\)"):
        renorm.split_(norm, BRANCHES)
    renorm.split_(nn.Sequential(norm), BRANCHES)


@pytest.fixture
def world():
    dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)  # pyright: ignore[reportPrivateImportUsage]
    yield
    dist.destroy_process_group()


def test_a_wrapped_model_is_refused_and_its_inner_model_can_be_converted(world: None):
    model = small()
    ddp = nn.parallel.DistributedDataParallel(model)
    with pytest.raises(
        ValueError, match=r"wrapped in DistributedDataParallel.*Convert the inner model first, then wrap"
    ):
        renorm.split_(ddp, BRANCHES)
    assert type(model[1]) is nn.BatchNorm2d
    renorm.split_(model, BRANCHES)
    ddp = nn.parallel.DistributedDataParallel(model)
    with renorm.route(model, "weak", "strong"):
        ddp(images()).sum().backward()
    assert site_of(model, 1).num_batches_tracked.tolist() == [14, 14]
    exactly(renorm.fold(ddp, "weak", probe=images()).eval()(images()), renorm.fold(model, "weak").eval()(images()))


def test_data_parallel_is_refused_too():
    with pytest.raises(ValueError, match="wrapped in DataParallel"):
        renorm.split_(nn.DataParallel(small()), BRANCHES)


def compiled(model: nn.Module) -> Any:
    torch.compiler.reset()
    return torch.compile(model, backend="aot_eager")


def test_a_compiled_model_that_has_run_uses_the_new_sites():
    model = small()
    wrapper, x = compiled(model), images()
    wrapper(x)
    plain = twin(model)
    report = renorm.split_(wrapper, BRANCHES)
    assert set(report.converted) == {"1", "4"}
    with renorm.route(wrapper, "strong"):
        y = wrapper(x)
    assert_close(y, plain(x))
    assert site_of(model, 1).num_batches_tracked.tolist() == [14, 15]
    report.undo(keep="strong")
    assert_close(wrapper(x), plain(x))
    assert int(model[1].get_buffer("num_batches_tracked")) == 16


def test_a_compiled_model_is_folded_to_a_plain_one():
    model = small().eval()
    wrapper, x = compiled(model), images()
    before = wrapper(x).clone()
    renorm.split_(wrapper, BRANCHES)
    wrapper(x)
    folded = renorm.fold(wrapper, "strong", probe=x)
    assert type(folded) is nn.Sequential
    assert folded.state_dict().keys() == small().state_dict().keys()
    assert_close(folded(x), before)


def test_a_part_that_is_compiled_is_converted_with_the_rest():
    model = nn.Sequential(compiled(small()), nn.BatchNorm1d(11)).eval()
    before = model(images()).clone()
    report = renorm.split_(model, BRANCHES)
    assert len(report.converted) == 3
    assert_close(model(images()), before)
    assert_close(renorm.fold(model, "strong", probe=images())(images()), before)


# --- copies ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["2d", "fused PReLU", "unknown"])
@pytest.mark.parametrize("how", ["deepcopy", "pickle"])
def test_a_copy_has_a_route_of_its_own_shared_by_its_sites(kind: str, how: str):
    model = nn.Sequential(around(NORMS[kind].make()), around(NORMS["2d"].make()))
    renorm.split_(model, BRANCHES)
    other = copy.deepcopy(model) if how == "deepcopy" else pickle.loads(pickle.dumps(model))
    (mine,), (theirs,) = routes_of(model), routes_of(other)
    assert mine is not theirs
    assert theirs.branches == ("weak", "strong")
    x, before = torch.randn(6, CHANNELS, 3, 7), tensors(model)
    with renorm.route(other, "weak", "strong"):
        other(x)
    exactly(tensors(model), before)
    assert theirs.batch is None
    with pytest.raises(RuntimeError, match="without a route"):
        model(x)


def test_a_copy_made_under_a_route_follows_none():
    model = small().eval()
    renorm.split_(model, BRANCHES)
    with torch.no_grad():
        site_of(model, 1).running_mean[5:] += 3
    weak = model(images())
    with renorm.route(model, "strong"):
        other = copy.deepcopy(model)
        assert not torch.equal(model(images()), weak)
    exactly(other(images()), weak)
    exactly(model(images()), weak)


def test_parts_of_one_model_may_have_branches_of_their_own():
    model = nn.Sequential(around(NORMS["2d"].make()), around(NORMS["2d"].make())).eval()
    x = torch.randn(6, CHANNELS, 3, 7)
    before = model(x).clone()
    renorm.split_(model[0], BRANCHES)
    renorm.split_(model[1], BRANCHES)
    assert len(routes_of(model)) == 2
    exactly(model(x), before)
    folded = renorm.fold(model, "strong", probe=x)
    exactly(folded(x), before)
    assert not any(m._forward_pre_hooks or m._forward_hooks for m in folded.modules())


# --- real models -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", TIMM)
def test_the_contract_on_a_network_of_timm(name: str):
    model, x = from_timm(name), torch.randn(2, 3, 64, 64)
    objects = {key: id(m) for key, m in model.named_modules()}
    saved = tensors(model)
    with torch.no_grad():
        before = model(x).clone()
        report = renorm.split_(model, BRANCHES)
        assert not report.left
        assert not any(m.training for m in model.modules())
        assert {key for key in model.state_dict() if not key.endswith(".branches")} == saved.keys()
        exactly(model(x), before)
        with renorm.route(model, "strong"):
            exactly(model(x), before)
        folded = renorm.fold(model, "strong", probe=x)
        exactly(folded(x), before)
        exactly(tensors(folded), saved)
        report.undo()
        exactly(model(x), before)
    assert {key: id(m) for key, m in model.named_modules()} == objects
    exactly(tensors(model), saved)


# --- that these laws can fail ----------------------------------------------------------------------------------------


def naive_split_(model: nn.Module) -> None:
    """What many converters do: a fresh layer by the class's base."""
    for parent in model.modules():
        for key, child in parent.named_children():
            if isinstance(child, nn.BatchNorm2d):
                site = SplitBatchNorm(child.num_features, BRANCHES)
                site.load_state_dict(child.state_dict(), strict=False)
                parent.register_module(key, site)


def test_the_law_of_equal_outputs_catches_a_lost_activation():
    model, x = from_timm("regnety_002"), torch.randn(2, 3, 64, 64)
    before = model(x).clone()
    naive_split_(model)
    model.eval()
    with pytest.raises(AssertionError):
        exactly(model(x), before)


def test_the_laws_catch_a_lost_mode_and_lost_sharing_and_lost_settings():
    shared = nn.BatchNorm2d(3, eps=0.1)
    model = around(nn.Sequential(shared, nn.Conv2d(3, 3, 1), shared)).eval()
    x = torch.randn(2, 3, 5, 7)
    before = model(x).clone()
    naive_split_(model)
    inner = site_of(model)
    assert inner[0].training
    assert inner[0] is not inner[2] or inner[2] is shared
    model.eval()
    with pytest.raises(AssertionError):
        exactly(model(x), before)


def test_the_law_of_hooks_catches_copied_dicts():
    model: Any = around(NORMS["2d"].make())
    calls, handles = calls_of(model, model[0])
    renorm.split_(model, BRANCHES)
    model[0]._forward_hooks = copy.copy(model[0]._forward_hooks)
    handles["forward"].remove()
    exercise(model)
    assert "forward" in calls


def test_random_statistics_tell_branches_from_fresh_ones():
    model = small().eval()
    before = model(images()).clone()
    renorm.split_(model, BRANCHES)
    with torch.no_grad():
        site_of(model, 4).running_var[7:] = 1
    exactly(model(images()), before)
    with renorm.route(model, "strong"), pytest.raises(AssertionError):
        exactly(model(images()), before)
