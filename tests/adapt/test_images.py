"""Adapting: exact at both ends, equal to evaluation afterwards, and undone to the bit."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.testing import assert_close

import renorm
from tests.banks.models import Unknown, randomize, rectified, small, unchanged
from tests.oracles.numbers import inp, summary
from tests.oracles.statistics import pooled

FORMATS = [torch.contiguous_format, torch.channels_last]


def images(size: int = 6, *space: int) -> Tensor:
    return torch.randn((size, 3, *(space or (4, 4))), generator=torch.Generator().manual_seed(4)) + 1


def by_hand(model: Any, x: Tensor, weight: float) -> dict[str, tuple[Tensor, Tensor]]:
    """Blend every site of a plain model in its order, each normalizing by what it is given, in float64."""
    found = {}
    x = x.double()
    with torch.no_grad():
        for name, module in model.double().eval().named_children():
            if hasattr(module, "running_mean"):
                mean, var, _ = pooled([x])
                module.running_mean.mul_(weight).add_(mean, alpha=1 - weight)
                module.running_var.mul_(weight).add_(var, alpha=1 - weight)
                found[name] = (module.running_mean, module.running_var)
            x = module(x)
    return found


@pytest.mark.parametrize("memory_format", FORMATS)
@pytest.mark.parametrize("prior", [0, 2, 64, 1e9])
def test_every_site_normalizes_by_what_it_installs(prior: float, memory_format: torch.memory_format):
    model = small().train().to(memory_format=memory_format)
    x = images().contiguous(memory_format=memory_format)
    expected = by_hand(small(), x, prior / (prior + 6))
    report = renorm.adapt_(model, x, prior)
    assert (report.samples, report.source_weight) == (6, prior / (prior + 6))
    assert_close(report.output, model.eval()(x), rtol=0, atol=0)
    for site, (mean, var) in expected.items():
        norm = model.get_submodule(site)
        assert_close(norm.running_mean.double(), mean, rtol=1e-5, atol=1e-6)
        assert_close(norm.running_var.double(), var, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("norm", [nn.BatchNorm2d, Unknown])
@pytest.mark.parametrize("split", [False, True])
def test_an_infinite_prior_is_the_source_bit_for_bit(norm: Any, split: bool):
    model, x = small(norm).eval(), images()
    if split:
        renorm.split_(model, ["weak", "strong"])
    before = model(x)
    with unchanged(model):
        report = renorm.adapt_(model, x, float("inf"), "weak" if split else None)
        assert report.source_weight == 1
        assert report.distance == {"1": 0.0, "5": 0.0}
        assert_close(model(x), before, rtol=0, atol=0)
        assert_close(report.output, before, rtol=0, atol=0)


def test_no_prior_is_exactly_the_batch():
    model, x = small(), images()
    features = model[0](x).detach()
    report = renorm.adapt_(model, x, 0)
    assert report.source_weight == 0
    mean, var, _ = pooled([features])
    assert_close(model[1].running_mean.double(), mean, rtol=1e-6, atol=1e-7)
    assert_close(model[1].running_var.double(), var, rtol=1e-6, atol=1e-7)
    source = small()
    source[1].running_mean.fill_(1e8)  # at weight 0 nothing of the source may be left, not even rounding
    renorm.adapt_(source, x, 0)
    assert_close(source[1].running_mean, model[1].running_mean, rtol=0, atol=0)


@pytest.mark.parametrize(
    ("prior", "weight", "expected"),
    [
        (0, 0.0, [9.153682, 2.154006, 1.796598, 0.463719]),
        (1.25, 0.2, [10.003715, 2.724394, 2.045921, 0.463719]),
        (16, 16 / 21, [14.381092, 5.215308, 3.089933, 0.467617]),
        (float("inf"), 1.0, None),
    ],
)
def test_reference_numbers_of_blending(prior: float, weight: float, expected: list[float] | None):
    model, x = rectified(), 1.3 * inp(5, 3, 4, 4, 0.5) + 0.4
    source = summary(model(x))
    report = renorm.adapt_(model, x, prior)
    assert_close(report.source_weight, weight)
    assert_close(summary(model(x)), expected or source, rtol=0, atol=1e-5 if expected else 0)
    report.undo()
    assert_close(summary(model(x)), source, rtol=0, atol=0)


def test_what_adapting_says_about_itself():
    model, x = small(), images()
    before = renorm.Bank.of(model)
    report = renorm.adapt_(model, x, 64)
    assert report.distance == before.distance(renorm.Bank.of(model))
    top = max(report.distance, key=lambda name: report.distance[name])
    assert repr(report) == (
        f"adapted 2 sites to 6 images, source weight {64 / 70:.3g}; moved most: {top!r} by {report.distance[top]:.3g} sd"
    )
    report.undo()
    assert repr(report) == "adaptation to 6 images, undone"


@pytest.mark.parametrize("training", [True, False])
def test_undo_gives_everything_back_and_dropout_stays_off(training: bool):
    model, x = small(dropout=0.9).train(training), images()
    model[5].eval()
    with unchanged(model):
        first = renorm.adapt_(model, x, 4)
        second = renorm.adapt_(model, x, 4)
        second.undo()
        again = renorm.adapt_(model, x, 4)
        assert_close(again.output, second.output, rtol=0, atol=0)
        again.undo()
        first.undo()
    free = small(dropout=0.0)
    assert_close(renorm.adapt_(free, x, 4).output, first.output, rtol=0, atol=0)


def test_two_adaptations_build_on_each_other():
    model, x = small(), images()
    renorm.adapt_(model, x, 6)
    renorm.adapt_(model, x, 6)
    expected = by_hand(small(), x, 0.25)["1"]  # the first site sees the same features twice
    assert_close(model[1].running_mean.double(), expected[0], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("form", [lambda x: (x, torch.arange(len(x))), lambda x: [x], lambda x: {"input": x}])
def test_images_may_be_a_tensor_a_tuple_or_a_dict(form: Any):
    model, x = small(), images()
    expected = renorm.adapt_(small(), x).output
    report = renorm.adapt_(model, form(x))
    assert report.samples == 6
    assert_close(report.output, expected, rtol=0, atol=0)
    report.undo()
    other = renorm.adapt_(model, {"a": form(x)}, forward=lambda m, batch: [m(x), "kept"], samples=6)
    assert_close(other.output[0], expected, rtol=0, atol=0)
    assert other.output[1] == "kept"


def test_one_image_is_enough_where_it_has_pixels():
    model, x = small(), images(1)
    report = renorm.adapt_(model, x, 16)
    assert report.source_weight == 16 / 17
    assert_close(report.output, model.eval()(x), rtol=0, atol=0)


@pytest.mark.parametrize(
    ("model", "x", "message"),
    [
        (
            small(),
            images(1, 1, 1),
            r"site '1' got a single value per channel\. A variance .*larger images, or prior=float\('inf'\)",
        ),
        (small(), images(0), r"no image was given\. Adapting needs at least one\. Check the folder"),
        (small(), images() * torch.nan, r"site '1' are not finite .*Look for NaN in the images"),
        (nn.Sequential(nn.Conv2d(3, 3, 1)), images(), r"Sequential has no running statistics; its norms are none\."),
    ],
    ids=["one value", "no image", "NaN", "no statistics"],
)
def test_what_cannot_be_adapted_is_an_error_and_changes_nothing(model: Any, x: Tensor, message: str):
    with unchanged(model), pytest.raises(ValueError, match=message):
        renorm.adapt_(model, x)


def test_bytes_are_asked_to_be_normalized():
    model = small()
    bytes_ = torch.randint(0, 256, (8, 3, 8, 8), dtype=torch.uint8)
    with unchanged(model), pytest.raises(TypeError, match=r"a batch of bytes .* normalized floats. Convert the images"):
        renorm.adapt_(model, bytes_)
    normalized = renorm.adapt_(
        model, bytes_, prior=4, forward=lambda net, x: net(x / 255)
    ).output  # whoever converts may
    assert normalized.isfinite().all()


@pytest.mark.parametrize("prior", [True, False])
def test_a_prior_is_no_switch(prior: bool):
    with pytest.raises(ValueError, match=r"prior=(True|False) was given. It is a number of images"):
        renorm.adapt_(small(), torch.randn(8, 3, 8, 8), prior=prior)


def test_a_wrong_prior_and_images_of_another_kind():
    model = small()
    with unchanged(model):
        with pytest.raises(ValueError, match=r"prior=-1 was given\. It is a number of images, 0 or more\. Use 64"):
            renorm.adapt_(model, images(), -1)
        with pytest.raises(TypeError, match=r"type str without tensors was given"):
            renorm.adapt_(model, "picture.png")


def test_one_value_per_channel_is_no_trouble_for_an_infinite_prior():
    model = nn.Sequential(nn.BatchNorm1d(3))
    with unchanged(model):
        renorm.adapt_(model, torch.randn(1, 3), float("inf"))


@pytest.mark.parametrize("kind", [ValueError, KeyboardInterrupt])
@pytest.mark.parametrize("norm", [nn.BatchNorm2d, Unknown])
def test_an_interruption_half_way_changes_nothing(kind: type[BaseException], norm: Any):
    model = small(norm).train()
    renorm.split_(model, ["weak", "strong"])

    def stop(*_: Any) -> None:
        raise kind("stop")

    model[4].register_forward_hook(stop)
    with unchanged(model), pytest.raises(kind, match="stop"):
        renorm.adapt_(model, images(), branch="strong")


@pytest.mark.parametrize(("norm", "share"), [(nn.BatchNorm2d, ()), (nn.BatchNorm2d, "affine"), (Unknown, ())])
def test_a_branch_is_adapted_and_the_others_are_not(norm: Any, share: Any):
    model, plain, x = small(norm), small(norm), images()
    renorm.split_(model, ["weak", "strong"], share=share)
    before = renorm.Bank.of(model, "weak")
    with renorm.route(model, "strong"):
        report = renorm.adapt_(model, x, 4)
    expected = renorm.adapt_(plain, x, 4)
    assert_close(report.output, expected.output)
    assert_close(report.distance, expected.distance)
    with renorm.route(model.eval(), "strong"):
        assert_close(report.output, model(x), rtol=0, atol=0)
    assert before.distance(renorm.Bank.of(model, "weak")) == {"1": 0.0, "5": 0.0}
    report.undo()
    assert before.distance(renorm.Bank.of(model, "strong")) == {"1": 0.0, "5": 0.0}


def test_shared_statistics_are_adapted_for_all():
    model, x = small(), images()
    renorm.split_(model, ["weak", "strong"], share="statistics")
    with torch.no_grad():
        model[1].weight.view(2, -1)[1] *= 2
    report = renorm.adapt_(model, x, 4, "strong")
    weak, strong = (renorm.Bank.of(model, name) for name in ("weak", "strong"))
    assert weak.distance(strong) == {"1": 0.0, "5": 0.0}
    with renorm.route(model.eval(), "strong"):
        assert_close(report.output, model(x), rtol=0, atol=0)


def test_only_the_named_sites_have_branches():
    model, x = small(), images()
    renorm.split_(model, ["weak", "strong"], sites="1")
    report = renorm.adapt_(model, x, 4, "strong")
    assert list(report.distance) == ["1", "5"]
    assert_close(report.output, renorm.adapt_(small(), x, 4).output)


@pytest.mark.parametrize(
    ("norm", "conv", "space"), [(nn.BatchNorm1d, nn.Conv1d, (7,)), (nn.BatchNorm3d, nn.Conv3d, (2, 3, 4))]
)
@pytest.mark.parametrize("split", [False, True])
def test_other_ranks(norm: Any, conv: Any, space: tuple[int, ...], split: bool):
    model, x = small(norm, conv), images(4, *space)
    expected = by_hand(small(norm, conv), x, 0.5)
    if split:
        renorm.split_(model, ["only"])
    report = renorm.adapt_(model, x, 4)
    assert_close(report.output, model.eval()(x), rtol=0, atol=0)
    assert_close(renorm.Bank.of(model).sites["5"].var.double(), expected["5"][1], rtol=1e-5, atol=1e-6)


def test_features_without_positions():
    model, x = nn.Sequential(nn.Linear(3, 5), nn.BatchNorm1d(5)), torch.randn(6, 3)
    report = renorm.adapt_(model, x, 0)
    assert_close(report.output, model.eval()(x), rtol=0, atol=0)
    assert_close(report.output.mean(0), torch.zeros(5), rtol=0, atol=1e-5)


@pytest.mark.parametrize("split", [False, True])
def test_half_precision(split: bool):
    model, x = small().bfloat16(), images().bfloat16()
    if split:
        renorm.split_(model, ["weak"])
    report = renorm.adapt_(model, x, 4)
    assert report.output.dtype == torch.bfloat16
    assert_close(report.output, model.eval()(x), rtol=0, atol=0)
    mixed = small()
    with torch.autocast("cpu", torch.bfloat16):
        report = renorm.adapt_(mixed, images(), 4)
        assert_close(report.output, mixed.eval()(images()), rtol=0, atol=0)
    assert mixed[1].running_mean.dtype == torch.float32


@pytest.mark.parametrize("split", [False, True])
@pytest.mark.parametrize("memory_format", FORMATS)
def test_fused_norms(split: bool, memory_format: torch.memory_format):
    timm = pytest.importorskip("timm")
    model = timm.create_model("efficientnet_b0", num_classes=3).to(memory_format=memory_format)
    randomize(model)
    x = images(2, 32, 32).contiguous(memory_format=memory_format)
    if split:
        renorm.split_(model, ["weak", "strong"])
        renorm.route_(model, eval="strong")
    report = renorm.adapt_(model, x, 4)
    assert len(report.distance) == 49
    assert_close(report.output, model.eval()(x), rtol=0, atol=0)
    report.undo()
    assert (model(x) - report.output).abs().max() > 1e-3


@pytest.mark.parametrize("split", [False, True])
def test_a_compiled_model(split: bool):
    torch._dynamo.reset()
    model, x = small(dropout=0.0).eval(), images()
    if split:
        renorm.split_(model, ["weak"])
    compiled: Any = torch.compile(model, backend="aot_eager", fullgraph=True)
    with torch.no_grad():
        before = compiled(x).clone()
        report = renorm.adapt_(compiled, x, 4)
        assert_close(compiled(x), report.output)
        assert_close(model(x), report.output, rtol=0, atol=0)
        assert (compiled(x) - before).abs().max() > 1e-3
        report.undo()
        assert_close(compiled(x), before, rtol=0, atol=0)


def test_gradients_are_not_kept_and_parameters_not_touched():
    model, x = small(), images().requires_grad_()
    with unchanged(model):
        report = renorm.adapt_(model, x)
        assert not report.output.requires_grad
        report.undo()
    with torch.inference_mode():
        report = renorm.adapt_(model, x)
    report.undo()
    model(x).sum().backward()


@pytest.mark.parametrize("prior", ["auto", 0])
def test_the_output_is_that_of_evaluation_where_a_norm_is_used_twice_too(prior: Any):
    norm = nn.BatchNorm2d(3)
    model = nn.Sequential(norm, nn.Conv2d(3, 3, 3), norm).eval()
    x = images() + 2
    report = renorm.adapt_(model, x, prior)
    assert report.source_weight < 1
    assert_close(report.output, model(x), rtol=0, atol=0)
