"""Adapting by a fixed source weight, and the mean or the variance alone."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.testing import assert_close

import renorm
from renorm.adapt.images import blended
from renorm.banks import Statistics
from renorm.functional import Moments
from tests.banks.models import Unknown, randomize, rectified, small, unchanged
from tests.oracles.numbers import inp, summary


def images(size: int = 6, *space: int) -> Tensor:
    return torch.randn((size, 3, *(space or (4, 4))), generator=torch.Generator().manual_seed(4)) + 1


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"weight": 0}, [9.153682, 2.154006, 1.796598, 0.463719]),
        ({"weight": 0.2}, [10.003715, 2.724394, 2.045921, 0.463719]),
        ({"weight": 16 / 21}, [14.381092, 5.215308, 3.089933, 0.467617]),
        ({"weight": 1}, [20.162516, 8.120666, 4.068534, 0.527047]),
        ({"weight": 0, "only": "mean"}, [16.716443, 7.873002, 3.822110, 0.463719]),
        ({"weight": 0, "only": "variance"}, [11.557839, 3.114690, 2.332668, 0.476919]),
        ({"prior": 0, "only": "mean"}, [16.716443, 7.873002, 3.822110, 0.463719]),
        ({"prior": 0, "only": "variance"}, [11.557839, 3.114690, 2.332668, 0.476919]),
    ],
    ids=str,
)
def test_reference_numbers(options: Any, expected: list[float]):
    model, x = rectified(), 1.3 * inp(5, 3, 4, 4, 0.5) + 0.4
    with unchanged(model):
        report = renorm.adapt_(model, x, **options)
        assert_close(summary(model(x)), expected, rtol=0, atol=1e-5)
        assert_close(report.output, model(x), rtol=0, atol=0)
        report.undo()


@pytest.mark.parametrize("split", [False, True])
@pytest.mark.parametrize("norm", [nn.BatchNorm2d, Unknown])
def test_a_weight_of_one_is_the_source_bit_for_bit_and_does_not_count_images(norm: Any, split: bool):
    model = small(norm).eval()
    branch = None
    if split:
        renorm.split_(model, ["weak", "strong"])
        branch = "strong"
    with unchanged(model):
        renorm.adapt_(model, images(), branch=branch, weight=1)
    for size in (2, 6):
        with unchanged(model):
            report = renorm.adapt_(model, images(size), branch=branch, weight=0.25)
            assert (report.source_weight, report.samples) == (0.25, size)
            report.undo()


@pytest.mark.parametrize(("only", "kept", "moved"), [("mean", "var", "mean"), ("variance", "mean", "var")])
@pytest.mark.parametrize("split", [False, True])
def test_one_moment_moves_and_the_other_is_the_sources_bit_for_bit(only: Any, kept: str, moved: str, split: bool):
    model, x = small().train(), images()
    if split:
        renorm.split_(model, ["weak", "strong"])
    branch = "strong" if split else None
    before = renorm.Bank.of(model, branch)
    report = renorm.adapt_(model, x, 4, branch, only=only)
    after = renorm.Bank.of(model, branch)
    for name, source in before.sites.items():
        assert_close(getattr(after.sites[name], kept), getattr(source, kept), rtol=0, atol=0)
        assert (getattr(after.sites[name], moved) - getattr(source, moved)).abs().min() > 1e-4
    if split:
        assert before.distance(renorm.Bank.of(model, "weak")) == {"1": 0.0, "5": 0.0}
        renorm.route_(model, eval="strong")
    assert_close(report.output, model.eval()(x), rtol=0, atol=0)
    assert f"{only} only, source weight 0.4" in repr(report)


def test_the_mean_alone_needs_no_second_value():
    model, x = nn.Sequential(nn.BatchNorm1d(3)).eval(), torch.tensor([[1.0, 2.0, 3.0]])
    report = renorm.adapt_(model, x, 0, only="mean")
    assert_close(report.output, torch.zeros(1, 3), rtol=0, atol=0)
    report.undo()
    with unchanged(model), pytest.raises(ValueError, match="single value per channel"):
        renorm.adapt_(model, x, 0, only="variance")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"prior": 16, "weight": 0.5}, r"prior=16 and weight=0\.5 were given\. Each says .* Pass one of them\."),
        ({"weight": -0.1}, r"weight=-0\.1 was given\. It is the share of the source, .* use prior=\."),
        ({"weight": 64}, r"weight=64 was given\. It is the share"),
        ({"weight": float("nan")}, r"weight=nan was given\. It is the share"),
        ({"only": "var"}, r"only='var' was given\. .* Use 'mean', 'variance', or leave it out for both\."),
    ],
    ids=str,
)
def test_what_is_refused_changes_nothing(options: Any, message: str):
    model = small()
    with unchanged(model), pytest.raises(ValueError, match=message):
        renorm.adapt_(model, images(), **options)


def test_an_interruption_half_way_changes_nothing():
    model = small().train()

    def stop(*_: Any) -> None:
        raise KeyboardInterrupt("stop")

    model[4].register_forward_hook(stop)
    with unchanged(model), pytest.raises(KeyboardInterrupt, match="stop"):
        renorm.adapt_(model, images(), weight=0.5, only="variance")


def test_fused_norms():
    timm = pytest.importorskip("timm")
    model, x = timm.create_model("efficientnet_b0", num_classes=3), images(2, 32, 32)
    randomize(model)
    report = renorm.adapt_(model, x, weight=0.5, only="mean")
    assert_close(report.output, model.eval()(x), rtol=0, atol=0)


def test_blending_is_pure_and_exact_at_both_ends():
    source = Statistics(torch.tensor([1e8, 1.0]), torch.tensor([1e9, 2.0]))
    batch = Moments(torch.tensor([2.0, 3.0]), torch.tensor([3.0, 6.0]), 4)
    end = blended(source, batch, 0)
    assert_close((end.mean, end.var), (batch.mean, torch.tensor([4.0, 8.0])), rtol=0, atol=0)
    half = blended(source, batch, 0.5)
    assert_close((half.mean[1], half.var[1]), (torch.tensor(2.0), torch.tensor(5.0)), rtol=0, atol=0)
    kept = blended(source, batch, 1)
    assert_close((kept.mean, kept.var), (source.mean, source.var), rtol=0, atol=0)
    assert kept.mean is not source.mean


@pytest.mark.parametrize(
    "options", [{"weight": 0.25}, {"prior": 4, "only": "mean"}, {"weight": 0.5, "only": "variance"}], ids=str
)
@pytest.mark.parametrize(
    "form",
    ["half", "channels_last", "1d", "3d", "sync", "split", "copies", "shared", "sandwich", "autocast", "compiled"],
)
def test_the_output_is_evaluation_afterwards_and_undo_gives_everything_back(form: str, options: Any):
    kinds: dict[str, Any] = {
        "1d": (nn.BatchNorm1d, nn.Conv1d),
        "3d": (nn.BatchNorm3d, nn.Conv3d),
        "sync": (nn.SyncBatchNorm, nn.Conv2d),
        "copies": (Unknown, nn.Conv2d),
    }
    model: Any = small(*kinds.get(form, ()), dropout=0.9).train()
    x = images(4, *{"1d": (7,), "3d": (2, 3, 4)}.get(form, ()))
    if form == "half":
        model, x = model.bfloat16(), x.bfloat16()
    if form == "channels_last":
        model, x = (t.to(memory_format=torch.channels_last) for t in (model, x))
    branch = "strong" if form in ("split", "copies", "shared", "sandwich") else None
    if form == "sandwich":
        renorm.sandwich_(model, ["weak", "strong"], share=())
    elif branch:
        renorm.split_(model, ["weak", "strong"], share="statistics" if form == "shared" else ())
    if branch:
        renorm.route_(model, eval=branch)
    called: Any = torch.compile(model, backend="aot_eager") if form == "compiled" else model
    with unchanged(model), torch.autocast("cpu", torch.bfloat16, enabled=form == "autocast"):
        report = renorm.adapt_(called, x, branch=branch, **options)
        assert all(distance > 1e-2 for distance in report.distance.values())
        modes = [module.training for module in model.modules()]
        with torch.no_grad():
            assert_close(report.output, model.eval()(x), rtol=0, atol=0)
        for module, training in zip(model.modules(), modes, strict=True):
            module.training = training
        report.undo()


def test_statistics_of_many_batches_for_one_branch():
    """AdaBN: a domain's own population statistics in place of the source's."""
    plain, model, batches = small(), small(), [images(5) + 1, images(3) * 2, images(6)]
    renorm.split_(model, ["source", "target"])
    source = renorm.Bank.of(model, "source")
    with unchanged(model):
        renorm.recalibrate_(plain, batches)
        report = renorm.recalibrate_(model, batches, "target")
        expected, found = renorm.Bank.of(plain), renorm.Bank.of(model, "target")
        assert source.distance(renorm.Bank.of(model, "source")) == {"1": 0.0, "5": 0.0}
        for name, statistics in expected.sites.items():
            assert_close((found.sites[name].mean, found.sites[name].var), (statistics.mean, statistics.var))
        report.undo()


@pytest.mark.parametrize(("norm", "name"), [(nn.GroupNorm(1, 3), "GroupNorm"), (nn.LayerNorm(4), "LayerNorm")])
@pytest.mark.parametrize("verb", ["adapt_", "measure", "recalibrate_"])
def test_models_without_running_statistics_are_refused_by_name(verb: str, norm: nn.Module, name: str):
    model = nn.Sequential(nn.Conv2d(3, 3, 1), norm)
    batch: Any = images() if verb == "adapt_" else [images()]
    with unchanged(model), pytest.raises(ValueError, match=rf"no running statistics; its norms are \['{name}'\]"):
        getattr(renorm, verb)(model, batch)
