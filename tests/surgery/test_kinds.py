"""Kinds of models: each is converted rightly, or left and reported, or refused at the call with the true reason."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn
from torch.distributed.fsdp import FullyShardedDataParallel, fully_shard
from torch.nn.utils import prune
from torch.testing import assert_close

import renorm
from renorm.layers import BranchCopies
from tests.layers.test_norms import BatchRenorm, Derived, Merging, OneVariance, Reading
from tests.surgery.zoo import images, small

BRANCHES = ["weak", "strong"]
quiet = pytest.mark.filterwarnings("ignore")


def evo(kind: str) -> Any:
    return lambda channels: getattr(pytest.importorskip("timm.layers"), kind)(channels)


KINDS: dict[str, Any] = {
    "batch renormalization": BatchRenorm,
    "one variance": OneVariance,
    "by inheritance": Derived,
    "EvoNorm B0": evo("EvoNorm2dB0"),
    "EvoNorm B1": evo("EvoNorm2dB1"),
}


@pytest.mark.parametrize("make", KINDS.values(), ids=KINDS)
def test_norms_of_other_kinds_are_copied_per_branch(make: Any):
    model: Any = nn.Sequential(nn.Conv2d(3, 5, 3), make(5), nn.Conv2d(5, 5, 1), nn.BatchNorm2d(5))
    report = renorm.split_(model, BRANCHES)
    assert list(report.converted) == ["1", "3"]
    assert isinstance(model[1], BranchCopies)
    model.eval()
    with renorm.route(model, "weak"):
        before = model(images())
    with renorm.route(model.train(), "strong"):
        model(5 * images() + 5)
    with renorm.frozen_statistics(model), renorm.route(model, "weak"):
        model(5 * images() + 5)
    model.eval()
    with renorm.route(model, "weak"):
        assert_close(model(images()), before, rtol=0, atol=0)
    folded: Any = renorm.fold(model, "strong", probe=images())
    assert type(folded[1]) is type(make(5))
    report.undo(keep="weak")
    assert_close(model(images()), before, rtol=0, atol=0)


def test_norms_whose_parents_read_them_are_refused():
    model = nn.Sequential(nn.Conv2d(3, 5, 3), Reading(), nn.BatchNorm2d(5))
    with pytest.raises(
        ValueError, match=r"'1\.norm' is inside a Reading, whose forward reads .* before it is prepared"
    ):
        renorm.split_(model, BRANCHES)
    assert list(renorm.split_(model, BRANCHES, sites="2").converted) == ["2"]


def test_merging_is_told_and_works_after_folding():
    report = renorm.split_(nn.Sequential(Merging()), BRANCHES)
    assert report.merging == ["Merging"]
    assert "fold a branch before Merging merge norms into other layers" in repr(report)


def test_a_reparameterized_network_is_folded_first():
    block = pytest.importorskip("timm.models.byobnet").MobileOneBlock
    model = nn.Sequential(block(3, 5, 3))
    report = renorm.split_(model, BRANCHES)
    assert report.merging == ["MobileOneBlock"]
    folded: Any = renorm.fold(model, "strong", probe=images())
    folded[0].reparameterize()
    assert_close(folded.eval()(images()), model.eval()(images()), rtol=1e-3, atol=1e-4)


def scripted(model: nn.Module) -> Any:
    return torch.jit.script(model)


def traced(model: nn.Module) -> Any:
    return torch.jit.trace(model, images())


def exported(model: nn.Module) -> nn.Module:
    torch._dynamo.reset()  # older ones count what was exported before as compiled again
    return torch.export.export(model, (images(),)).module()


def inside(make: Callable[[nn.Module], nn.Module]) -> Callable[[nn.Module], nn.Module]:
    return lambda model: nn.Sequential(make(model), nn.Linear(11, 2))


def unflattened(model: nn.Module) -> nn.Module:
    return torch.export.export(model, (images(),), strict=False).module()


COMPILED: dict[str, Any] = {
    "scripted": scripted,
    "traced": traced,
    "exported": exported,
    "a part that is scripted": inside(scripted),
    "a part that is traced": inside(traced),
    "exported without dynamo": unflattened,
}


@quiet
@pytest.mark.parametrize("verb", [renorm.split_, renorm.sandwich_])
@pytest.mark.parametrize("make", COMPILED.values(), ids=COMPILED)
def test_scripted_traced_and_exported_models_are_refused(make: Any, verb: Any):
    model = make(small().eval())
    with pytest.raises(
        ValueError, match=r"cannot be converted: it is part of a scripted, traced or exported program\. Convert"
    ):
        verb(model, BRANCHES)


@quiet
def test_a_scripted_part_without_norms_is_no_hindrance():
    model = nn.Sequential(small(), torch.jit.script(nn.Sequential(nn.Linear(11, 5), nn.ReLU())))
    assert len(renorm.split_(model, BRANCHES).converted) == 2


def extracted(model: nn.Module) -> nn.Module:
    make = pytest.importorskip("torchvision.models.feature_extraction").create_feature_extractor
    return make(model, {"4": "features"})


def graph(model: nn.Module) -> nn.Module:
    return torch.fx.symbolic_trace(model)


@pytest.mark.parametrize("make", [extracted, graph])
def test_graphs_that_call_their_norms_are_converted(make: Any):
    model = make(small().eval())
    before = model(images())
    renorm.split_(model, BRANCHES)
    assert_close(model(images()), before, rtol=0, atol=0)
    with renorm.route(model.train(), *BRANCHES):
        model(images())
    assert model.get_submodule("1").num_batches_tracked.tolist() == [14, 14]


class Plain(nn.BatchNorm2d):
    """One whose code a graph can take in."""

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        return nn.functional.batch_norm(input, self.running_mean, self.running_var)


class Inlining(torch.fx.Tracer):
    """Puts the code of norms into the graph."""

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        return not isinstance(m, Plain)


def test_graphs_that_read_their_norms_are_refused():
    model = nn.Sequential(nn.Conv2d(3, 5, 3), Plain(5))
    inlined = torch.fx.GraphModule(model, Inlining().trace(model))
    with pytest.raises(ValueError, match=r"whose forward reads its statistics itself|scripted, traced or exported"):
        renorm.split_(inlined, BRANCHES)


@quiet
def test_a_network_in_quantization_aware_training_is_refused():
    quantize = pytest.importorskip("torch.ao.quantization.quantize_fx")
    mapping = torch.ao.quantization.get_default_qat_qconfig_mapping("x86")
    model = quantize.prepare_qat_fx(small().train(), mapping, (images(),))
    with pytest.raises(ValueError, match=r"whose forward reads its statistics itself.*\(for quantization, say\)"):
        renorm.split_(model, BRANCHES)


def pruned(model: Any) -> Any:
    prune.l1_unstructured(model[0], "weight", 0.3)
    return model


def normed(model: Any) -> Any:
    nn.utils.parametrizations.weight_norm(model[0])
    return model


def normed_by_hooks(model: Any) -> Any:
    nn.utils.weight_norm(model[0])
    return model


def spectral(model: Any) -> Any:
    nn.utils.parametrizations.spectral_norm(model[8])
    return model


@quiet
@pytest.mark.parametrize("change", [pruned, normed, normed_by_hooks, spectral])
def test_networks_whose_other_weights_are_made_by_hooks_are_converted_and_folded(change: Any):
    model = change(small()).train()
    renorm.split_(model, BRANCHES)
    with renorm.route(model, *BRANCHES):
        model(images()).sum().backward()
    folded: Any = renorm.fold(model, "strong", probe=images())
    model.eval()
    with renorm.route(model, "strong"):
        assert_close(folded.eval()(images()), model(images()))
    assert model[0].weight is not folded[0].weight


def test_a_pruned_norm_is_refused():
    model = small()
    prune.l1_unstructured(model[1], "weight", 0.3)
    with pytest.raises(
        ValueError, match=r"made by hooks from \['weight_orig'\]\. Make them permanent first \(prune\.remove"
    ):
        renorm.split_(model, BRANCHES)


@pytest.fixture
def alone(tmp_path: Any) -> Any:
    """A process group of one."""
    dist: Any = torch.distributed
    dist.init_process_group("gloo", store=dist.FileStore(str(tmp_path / "store"), 1), rank=0, world_size=1)
    yield dist.device_mesh.init_device_mesh("cpu", (1,))
    dist.destroy_process_group()


def fsdp(model: nn.Module, mesh: Any) -> nn.Module:
    return FullyShardedDataParallel(model, device_id=torch.device("cpu"))


def fsdp_of_a_part(model: Any, mesh: Any) -> nn.Module:
    model[0] = fsdp(model[0], mesh)
    return model


def fully(model: nn.Module, mesh: Any) -> Any:
    if not hasattr(torch.cpu.Stream, "record_event"):
        pytest.skip("FSDP2 of this torch needs a GPU")
    return fully_shard(model, mesh=mesh)


def tensor_parallel(model: nn.Module, mesh: Any) -> nn.Module:
    from torch.distributed.tensor.parallel import ColwiseParallel, parallelize_module

    return parallelize_module(model, mesh, {"8": ColwiseParallel()})


def ddp(model: nn.Module, mesh: Any) -> nn.Module:
    return nn.parallel.DistributedDataParallel(model)


SHARDED = [fsdp, fsdp_of_a_part, fully, tensor_parallel]


@quiet
@pytest.mark.parametrize("wrap", [*SHARDED, ddp])
def test_sharded_models_are_converted_first(wrap: Any, alone: Any):
    model = wrap(small(), alone)
    with pytest.raises(ValueError, match=r"Convert the (inner )?model first, then (wrap|shard) it"):
        renorm.split_(model, BRANCHES)


@quiet
@pytest.mark.parametrize("wrap", SHARDED)
def test_sharded_models_are_not_folded(wrap: Any, alone: Any):
    model = small()
    renorm.split_(model, BRANCHES)
    with pytest.raises(ValueError, match=r"Each rank has a part .*Gather a full state dict .* and fold that one"):
        renorm.fold(wrap(model, alone), "weak")


@quiet
def test_a_model_converted_first_trains_sharded_and_is_gathered_to_fold(alone: Any):
    from torch.distributed.checkpoint.state_dict import StateDictOptions, get_model_state_dict

    model, plain = small(), small()
    renorm.split_(model, BRANCHES)
    renorm.split_(plain, BRANCHES)
    sharded: Any = fully(model, alone)
    for net in (sharded.train(), plain.train()):
        with renorm.route(net, *BRANCHES):
            net(images()).sum().backward()
    whole = get_model_state_dict(sharded, options=StateDictOptions(full_state_dict=True))
    other = small()
    renorm.split_(other, BRANCHES)
    other.load_state_dict(whole)
    assert_close(renorm.fold(other, "weak")(images()), renorm.fold(plain, "weak")(images()))
