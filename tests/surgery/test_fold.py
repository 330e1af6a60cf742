from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.testing import assert_close

import renorm
from renorm.layers import BranchCopies, Site, SplitBatchNorm
from tests.surgery.zoo import CHANNELS, NORMS, around, images, small, tensors

BRANCHES = ["weak", "strong"]


def exactly(a: Any, b: Any) -> None:
    assert_close(a, b, rtol=0, atol=0)


def trained(model: Any, branches: Any = BRANCHES, **options: Any) -> Any:
    """A converted model whose branches differ in all they have."""
    renorm.split_(model, branches, **options)
    for shift, name in enumerate(branches):
        with renorm.route(model, name):
            model.train()(images() * (1 + shift) + shift)
    with torch.no_grad():
        for module in model.modules():
            if isinstance(module, SplitBatchNorm) and module.weight is not None:
                module.weight.add_(torch.randn(module.weight.shape))
    return model


@pytest.mark.parametrize("share", [(), "statistics", "affine", ("statistics", "affine")], ids=str)
def test_a_fold_equals_its_branch_to_the_bit_and_no_other(share: Any):
    model, x = trained(small(), share=share).eval(), images()
    outputs = []
    for branch in BRANCHES:
        folded: Any = renorm.fold(model, branch, probe=x)
        assert not any(isinstance(m, Site) for m in folded.modules())
        assert type(folded[1]) is nn.BatchNorm2d
        with renorm.route(model, branch):
            exactly(folded(x), model(x))
        outputs.append(folded(x))
    assert torch.equal(*outputs) is (len(share) == 2 and share != "affine")


def test_the_model_is_left_as_it_was():
    model = trained(small())
    before, modes = tensors(model), [m.training for m in model.modules()]
    with renorm.route(model, "strong"):
        folded: Any = renorm.fold(model, "weak", probe=images())
        folded[1].weight.data.zero_()
        assert model[1].route.open.rows == (1,)
    exactly(tensors(model), before)
    assert [m.training for m in model.modules()] == modes
    assert [m.training for m in folded.modules()] == modes


def test_a_fold_loads_strictly_into_the_plain_model():
    model = trained(small())
    folded, plain = renorm.fold(model, "strong"), small()
    plain.load_state_dict(folded.state_dict())
    exactly(plain.eval()(images()), folded.eval()(images()))
    assert {key: t.shape for key, t in folded.state_dict().items()} == {
        k: t.shape for k, t in plain.state_dict().items()
    }


class Keyed(nn.Module):
    """A model that is called by keywords and returns a dict."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = small()

    def forward(self, pixels: Tensor, scale: float = 1.0) -> dict[str, Any]:
        y = self.inner(pixels) * scale
        return {"logits": y, "label": [y.argmax(1), y.isfinite()]}


def test_probes_are_tensors_positional_or_keyword_arguments():
    model = trained(small())
    exactly(tensors(renorm.fold(model, "weak", (images(),))), tensors(renorm.fold(model, "weak", images())))
    keyed = Keyed()
    renorm.split_(keyed, BRANCHES)
    renorm.fold(keyed, "weak", {"pixels": images(), "scale": 3.0})


class Asking(nn.Module):
    """A model whose forward asks for the class of its norm."""

    def __init__(self) -> None:
        super().__init__()
        self.bn = nn.BatchNorm2d(3)

    def forward(self, x: Tensor) -> Tensor:
        return self.bn(x) * (1.0 if isinstance(self.bn, nn.BatchNorm2d) else 1.01)


def test_a_model_that_asks_for_the_class_of_its_norms_is_found_by_the_probe():
    model = Asking()
    renorm.split_(model, BRANCHES)
    modes = [m.training for m in model.modules()]
    renorm.fold(model, "weak")
    message = r"folded copy of 'Asking' is not equal to branch 'weak'.*must give the same outputs. Look for a forward"
    with pytest.raises(RuntimeError, match=message):
        renorm.fold(model, "weak", probe=images())
    assert [m.training for m in model.modules()] == modes


def test_copies_that_give_nan_prove_nothing():
    model = trained(small())
    with pytest.raises(ValueError, match=r"branch 'weak' of the model gives NaN for the probe.*Look for NaN"):
        renorm.fold(model, "weak", probe=images() * float("nan"))


def test_a_site_that_does_not_fold_to_an_equal_layer_is_found_without_a_probe():
    model: Any = small()
    renorm.split_(model, BRANCHES)
    model[4].template.eps = 0.5
    with pytest.raises(RuntimeError, match=r"the folded copy of '4' is not equal to branch 'strong'"):
        renorm.fold(model, "strong")


@pytest.mark.parametrize("kind", ["2d", "unknown"])
@pytest.mark.parametrize(
    ("key", "value"), [("running_mean", float("nan")), ("running_var", float("inf")), ("running_var", -1.0)]
)
def test_broken_statistics_are_refused_by_the_site_that_has_them(kind: str, key: str, value: float):
    model: Any = nn.Sequential(around(NORMS["2d"].make()), around(NORMS[kind].make()))
    renorm.split_(model, BRANCHES)
    site = model[1][0]
    row = site.called(1).get_buffer(key) if isinstance(site, BranchCopies) else site.get_buffer(key)[CHANNELS:]
    row[2] = value
    message = (
        r"site '1.0' has statistics of branch 'strong' that are not finite or negative. Evaluation needs finite ones. "
        r"Measure them again: renorm.recalibrate_\(model, batches, branch='strong'\)"
    )
    with pytest.raises(ValueError, match=message):
        renorm.fold(model, "strong")
    renorm.fold(model, "weak")


@pytest.mark.parametrize("kind", ["2d", "unknown"])
def test_a_branch_that_was_never_updated_is_refused(kind: str):
    model = nn.Sequential(NORMS[kind].make())
    renorm.split_(model, BRANCHES)
    renorm.fold(model, "strong")  # nobody was trained yet: the plain model is what was asked for
    with renorm.route(model, "weak"):
        model(torch.randn(6, CHANNELS, 3, 7))
    renorm.fold(model, "weak")
    message = (
        r"site '0' never saw a batch of branch 'strong', while others were trained. Its statistics are still the initial "
        r"ones. Measure them: renorm.recalibrate_\(model, batches, branch='strong'\)"
    )
    with pytest.raises(ValueError, match=message):
        renorm.fold(model, "strong")


def test_shared_statistics_were_updated_by_any_branch():
    model = nn.Sequential(nn.BatchNorm2d(CHANNELS))
    renorm.split_(model, BRANCHES, share="statistics")
    x = torch.randn(6, CHANNELS, 3, 7)
    with renorm.route(model, "weak"):
        model(x)
    with renorm.route(model.eval(), "strong"):
        exactly(renorm.fold(model, "strong")(x), model(x))


def test_an_unknown_branch_and_a_plain_model_are_errors():
    with pytest.raises(ValueError, match=r"'stong' is not a branch.*Did you mean 'strong'\?"):
        renorm.fold(trained(small()), "stong")
    with pytest.raises(ValueError, match=r"Sequential has no branched site.*Convert it first"):
        renorm.fold(small(), "weak")


@pytest.mark.parametrize("kind", NORMS)
def test_a_fold_is_a_plain_module_without_a_trace(kind: str):
    model = around(NORMS[kind].make())
    renorm.split_(model, BRANCHES)
    folded = renorm.fold(model, "weak")
    assert not any(type(m).__module__.startswith("renorm") for m in folded.modules())
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in folded.modules())
    copy.deepcopy(folded)
    renorm.split_(folded, ["clean", "adv"])


def test_parameters_that_two_norms_share_are_shared_in_the_fold():
    model: Any = nn.Sequential(nn.BatchNorm2d(3), nn.BatchNorm2d(3))
    model[1].weight = model[0].weight
    renorm.split_(model, BRANCHES)
    folded: Any = renorm.fold(model, "strong")
    assert folded[0].weight is folded[1].weight
    assert folded[0].bias is not folded[1].bias


def test_a_layer_built_by_hand_needs_to_know_its_plain_class():
    model = nn.Sequential(SplitBatchNorm(3, BRANCHES))
    message = r"was built by hand. Folding needs the class of the plain layer. Build .* convert it by renorm.split_"
    with pytest.raises(ValueError, match=message):
        renorm.fold(model, "weak")


def test_one_branch_folds_to_what_it_was():
    model = small()
    plain = tensors(model)
    renorm.split_(model, ["only"])
    exactly(tensors(renorm.fold(model, "only", probe=images())), plain)


def test_sites_of_some_layers_only():
    model = small()
    renorm.split_(model, BRANCHES, sites="4")
    kept = model[1]
    folded = renorm.fold(model, "weak", probe=images())
    assert type(folded.get_submodule("1")) is type(folded.get_submodule("4")) is nn.BatchNorm2d
    assert model[1] is kept
