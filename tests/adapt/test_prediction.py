"""Prediction-time normalization: every batch, branch or image by its own statistics, and the model as it was."""

import copy
import pickle
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.testing import assert_close
from torch.utils.checkpoint import checkpoint

import renorm
from renorm.adapt.prediction import moved
from tests.banks.models import Unknown, randomize, rectified, small, unchanged
from tests.oracles.numbers import inp, summary
from tests.oracles.statistics import pooled

FORMATS = [torch.contiguous_format, torch.channels_last]


def images(size: int = 6, *space: int) -> Tensor:
    return torch.randn((size, 3, *(space or (4, 4))), generator=torch.Generator().manual_seed(4)) + 1


def by_hand(model: Any, x: Tensor, prior: float = 0.0) -> Tensor:
    """A plain chain of layers in float64, each norm by the blend of its own statistics and the batch's, biased."""
    model, x = copy.deepcopy(model).double().eval(), x.double()
    with torch.no_grad():
        for module in model:
            if hasattr(module, "running_mean"):
                mean, var, count = pooled([x])
                s = prior / (prior + len(x))
                module.running_mean.mul_(s).add_((1 - s) * mean)
                module.running_var.mul_(s).add_((1 - s) * var * (count - 1) / count)
            x = module(x)
    return x.float()


def predicted(model: Any, x: Tensor, *prior: float, **options: Any) -> Tensor:
    with renorm.prediction_time(model, *prior, **options):
        return model(x)


def test_reference_numbers():
    model, x = rectified(), 1.3 * inp(5, 3, 4, 4, 0.5) + 0.4
    with unchanged(model):
        assert_close(summary(predicted(model, x)), [9.177809, 2.173581, 1.806458, 0.463719], rtol=0, atol=1e-5)
    assert_close(summary(model(x)), [20.162516, 8.120666, 4.068534, 0.527047], rtol=0, atol=1e-5)


@pytest.mark.parametrize("memory_format", FORMATS)
@pytest.mark.parametrize("prior", [0, 2, 64])
@pytest.mark.parametrize("norm", [nn.BatchNorm2d, Unknown])
def test_a_batch_is_blended_with_the_source(norm: Any, prior: float, memory_format: torch.memory_format):
    model = small(norm).eval().to(memory_format=memory_format)
    x = images().contiguous(memory_format=memory_format)
    with unchanged(model):
        y = predicted(model, x, prior)
    assert_close(y, by_hand(small(norm), x, prior), rtol=1e-4, atol=1e-5)
    assert y.is_contiguous(memory_format=memory_format)


@pytest.mark.parametrize("prior", [0.0, 16.0])
def test_each_image_by_itself_whatever_the_batch(prior: float):
    model, x = small().eval(), images()
    with unchanged(model):
        y = predicted(model, x, prior, per_image=True)
    for i in range(len(x)):
        assert_close(y[i : i + 1], by_hand(small(), x[i : i + 1], prior), rtol=1e-4, atol=1e-5)
    assert (y - predicted(model, x, prior)).abs().max() > 1e-2


@pytest.mark.parametrize("per_image", [False, True])
@pytest.mark.parametrize("split", [False, True])
def test_an_infinite_prior_is_the_source_bit_for_bit(split: bool, per_image: bool):
    model, x = small().eval(), images()
    if split:
        renorm.split_(model, ["weak", "strong"])
    assert_close(predicted(model, x, float("inf"), per_image=per_image), model(x), rtol=0, atol=0)


def test_no_prior_is_training_with_dropout_off_and_so_are_its_gradients():
    model, reference, x = small().eval(), small(dropout=0.0).train(), images()
    ours, theirs = x.clone().requires_grad_(), x.clone().requires_grad_()
    y, z = predicted(model, ours), reference(theirs)
    assert_close(y, z, rtol=1e-4, atol=1e-5)
    weights = torch.cos(torch.arange(y.numel())).view_as(y)
    (y * weights).sum().backward()
    (z * weights).sum().backward()
    assert_close(ours.grad, theirs.grad, rtol=1e-3, atol=1e-5)
    for own, other in zip(model.parameters(), reference.parameters(), strict=True):
        assert_close(own.grad, other.grad, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("prior", [0.0, 3.0])
@pytest.mark.parametrize("per_image", [False, True])
def test_gradients_are_those_of_the_formula(prior: float, per_image: bool):
    model = nn.Sequential(nn.BatchNorm2d(3)).double().eval()
    randomize(model)
    x = images(4, 2, 2).double().requires_grad_()
    assert torch.autograd.gradcheck(lambda t: predicted(model, t, prior, per_image=per_image), (x,))


def test_activation_checkpointing_inside_the_block():
    model, x = small(dropout=0.0).eval(), images()
    free, kept = x.clone().requires_grad_(), x.clone().requires_grad_()
    with renorm.prediction_time(model, 4):
        model(free).square().sum().backward()
        y: Any = checkpoint(model, kept, use_reentrant=False)
        y.square().sum().backward()
    assert_close(kept.grad, free.grad, rtol=0, atol=0)


ROUTES: list[tuple[Any, list[list[int]]]] = [
    (("weak", "strong"), [[0, 2, 4], [1, 3, 5]]),
    (("strong", "weak"), [[1, 3, 5], [0, 2, 4]]),
    (({"strong": 4, "weak": 2},), [[4, 5], [0, 1, 2, 3]]),
    ((torch.tensor([0, 0, 1, 0, 1, 0]),), [[0, 1, 3, 5], [2, 4]]),
]


@pytest.mark.parametrize(("spec", "members"), ROUTES, ids=["interleaved", "in another order", "blocks", "labels"])
@pytest.mark.parametrize("prior", [0.0, 5.0])
@pytest.mark.parametrize("norm", [nn.BatchNorm2d, Unknown])
def test_each_branch_by_its_own_samples(norm: Any, prior: float, spec: Any, members: list[list[int]]):
    model, x = small(norm).eval(), images()
    renorm.split_(model, ["weak", "strong"])
    renorm.recalibrate_(model, [images(8) * 3], "strong")
    with unchanged(model), renorm.route(model, *spec):
        y = predicted(model, x, prior)
    for branch, rows in zip(("weak", "strong"), members, strict=True):
        plain = small(norm)
        renorm.install_(plain, renorm.Bank.of(model, branch))
        assert_close(y[rows], by_hand(plain, x[rows], prior), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("prior", [0.0, 5.0])
def test_branches_and_images_by_themselves(prior: float):
    model, x = small().eval(), images()
    renorm.split_(model, ["weak", "strong"])
    renorm.recalibrate_(model, [images(8) * 3], "strong")
    with renorm.route(model, "weak", "strong"):
        y = predicted(model, x, prior, per_image=True)
    for i in range(len(x)):
        one = predicted(model, x[i : i + 1], prior, branch=("weak", "strong")[i % 2])
        assert_close(y[i : i + 1], one, rtol=1e-4, atol=1e-5)


def test_a_branch_by_name_and_without_one_the_first_as_in_evaluation():
    model, x = small().eval(), images()
    renorm.split_(model, ["weak", "strong"])
    renorm.recalibrate_(model, [images(8) * 3], "strong")
    plain = small()
    renorm.install_(plain, renorm.Bank.of(model, "strong"))
    assert_close(predicted(model, x, 5, branch="strong"), by_hand(plain, x, 5), rtol=1e-4, atol=1e-5)
    assert_close(predicted(model, x, 5), by_hand(small(), x, 5), rtol=1e-4, atol=1e-5)
    renorm.route_(model, eval="strong")
    assert_close(predicted(model, x, 5), by_hand(plain, x, 5), rtol=1e-4, atol=1e-5)


def test_shared_statistics_are_those_of_the_whole_batch():
    model, x = small().eval(), images()
    renorm.split_(model, ["weak", "strong"], share="statistics")
    with renorm.route(model, "weak", "strong"):
        assert_close(predicted(model, x, 5), by_hand(small(), x, 5), rtol=1e-4, atol=1e-5)


def test_labels_given_to_the_layer_itself():
    norm, x, labels = renorm.layers.SplitBatchNorm(3, ["a", "b"]).eval(), images(), torch.tensor([0, 1, 1, 0, 0, 1])
    randomize(norm)
    with renorm.route(norm, labels):
        expected = predicted(norm, x, 5)
    with renorm.prediction_time(norm, 5):
        assert_close((norm(x, labels), norm(x, labels=labels)), (expected, expected), rtol=0, atol=0)


@pytest.mark.parametrize("share", ["statistics", ()])
def test_a_sandwich(share: Any):
    model, plain, x = small().eval(), small(), images()
    renorm.sandwich_(model, ["clean", "adv"], share=share)
    with unchanged(model):
        assert_close(predicted(model, x, 5, branch="adv"), by_hand(plain, x, 5), rtol=1e-4, atol=1e-5)
        with renorm.route(model, "clean", "adv"):
            y = predicted(model, x, 5)
    rows = [by_hand(plain, x, 5)] if share else [by_hand(plain, x[i::2], 5) for i in range(2)]
    for i, expected in enumerate(rows):
        assert_close(y[i :: len(rows)], expected, rtol=1e-4, atol=1e-5)


def test_a_norm_that_is_used_twice_normalizes_each_time_by_what_it_gets():
    norm = nn.BatchNorm2d(3)
    randomize(norm)
    model, x = nn.Sequential(norm, nn.Softplus(), norm).eval(), images()
    first = by_hand(nn.Sequential(norm, nn.Softplus()), x, 4)
    assert_close(predicted(model, x, 4), by_hand(nn.Sequential(norm), first, 4), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("norm", "conv", "space"),
    [(nn.BatchNorm1d, nn.Conv1d, (7,)), (nn.BatchNorm3d, nn.Conv3d, (2, 3, 4)), (nn.SyncBatchNorm, nn.Conv2d, (4, 4))],
)
def test_other_norms(norm: Any, conv: Any, space: tuple[int, ...]):
    model, x = small(norm, conv).eval(), images(4, *space)
    assert_close(predicted(model, x, 4), by_hand(small(norm, conv), x, 4), rtol=1e-4, atol=1e-5)


def test_features_without_positions():
    model, x = nn.Sequential(nn.Linear(3, 5), nn.BatchNorm1d(5)).eval(), torch.randn(6, 3)
    assert_close(predicted(model, x), by_hand(model, x), rtol=1e-4, atol=1e-5)
    one = predicted(model, x, 16, per_image=True)
    assert_close(one[2:3], by_hand(model, x[2:3].repeat(2, 1), 32)[:1], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("split", [False, True])
def test_fused_norms(split: bool):
    timm = pytest.importorskip("timm")
    model = timm.create_model("efficientnet_b0", num_classes=3).double().eval()
    randomize(model)
    reference, x = copy.deepcopy(model), images(4, 32, 32).double()
    for module in reference.modules():
        module.training = isinstance(module, nn.BatchNorm2d)
    if split:
        renorm.split_(model, ["weak", "strong"])
    with unchanged(model), torch.no_grad():
        assert_close(predicted(model, x), reference(x))


@pytest.mark.parametrize("prior", [0.0, 16.0])
@pytest.mark.parametrize("per_image", [False, True])
def test_half_precision(prior: float, per_image: bool):
    exact = predicted(small().eval(), images(), prior, per_image=per_image)
    y = predicted(small().eval().bfloat16(), images().bfloat16(), prior, per_image=per_image)
    assert y.dtype == torch.bfloat16
    assert_close(y.float(), exact, rtol=0, atol=0.15)  # as far as training in this type is
    with torch.autocast("cpu", torch.bfloat16):
        y = predicted(small().eval(), images(), prior, per_image=per_image)
    assert_close(y.float(), exact, rtol=0, atol=0.15)


@pytest.mark.parametrize("split", [False, True])
def test_a_compiled_model_runs_eagerly_inside_and_compiled_outside(split: bool):
    model, x = small(dropout=0.0).eval(), images()
    if split:
        renorm.split_(model, ["weak"])
    expected = predicted(model, x, 4)
    torch.compiler.reset()
    compiled: Any = torch.compile(model, backend="aot_eager", fullgraph=True)
    with torch.no_grad():
        before = compiled(x).clone()
        assert_close(predicted(compiled, x, 4), expected, rtol=0, atol=0)
        assert_close(compiled(x), before, rtol=0, atol=0)
    with renorm.prediction_time(model, 4):
        inside: Any = torch.compile(model, backend="aot_eager")
        assert_close(inside(x), expected, rtol=0, atol=0)
    assert_close(inside(x), before)


def test_a_loader_of_uneven_batches_and_an_empty_one():
    model = small().eval()
    with renorm.prediction_time(model, 4):
        outputs = [model(images(size)) for size in (5, 1, 0, 6)]
    for y, size in zip(outputs, (5, 1, 0, 6), strict=True):
        assert y.shape == (size, 7, 4, 4)
        if size:
            assert_close(y, by_hand(small(), images(size), 4), rtol=1e-4, atol=1e-5)


def test_threads_may_predict_at_once():
    model, batches = small().eval(), [images(n) for n in (2, 3, 4, 5, 6, 7, 8)]
    with torch.no_grad(), renorm.prediction_time(model, 4), ThreadPoolExecutor(4) as pool:
        outputs = list(pool.map(lambda x: model(x).detach(), batches * 4))
    for y, x in zip(outputs, batches * 4, strict=True):
        assert_close(y, by_hand(small(), x, 4), rtol=1e-4, atol=1e-5)


INSIDE = r"this Sequential is inside renorm\.prediction_time, .* Do that before the block, or after it"


@pytest.mark.parametrize("verb", ["prediction_time", "measure", "adapt_", "recalibrate_", "install_", "using"])
def test_statistics_are_neither_measured_nor_changed_inside(verb: str):
    model, x = small().eval(), images()
    bank = renorm.Bank.of(model)

    def attempt() -> None:
        if verb in ("measure", "recalibrate_"):
            getattr(renorm, verb)(model, [x])
        elif verb == "adapt_":
            renorm.adapt_(model, x)
        elif verb == "install_":
            renorm.install_(model, bank)
        else:
            with renorm.using(model, bank) if verb == "using" else renorm.prediction_time(model):
                pass

    with unchanged(model), renorm.prediction_time(model, 4):
        with pytest.raises(RuntimeError, match=INSIDE):
            attempt()
        assert_close(model(x), by_hand(small(), x, 4), rtol=1e-4, atol=1e-5)
    attempt()


def test_inside_a_borrowed_bank_it_blends_with_that_bank():
    model, x = small().eval(), images()
    bank = renorm.measure(model, [images(8) * 3])
    with unchanged(model), renorm.using(model, bank):
        y = predicted(model, x, 4)
    plain = small()
    renorm.install_(plain, bank)
    assert_close(y, by_hand(plain, x, 4), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("kind", [ValueError, KeyboardInterrupt])
def test_an_interruption_changes_nothing(kind: type[BaseException]):
    model = small().eval()

    def stop(*_: Any) -> None:
        raise kind("stop")

    handle = model[4].register_forward_hook(stop)
    with unchanged(model), pytest.raises(kind, match="stop"):
        predicted(model, images())
    handle.remove()
    assert_close(predicted(model, images(), 4), by_hand(small(), images(), 4), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda model: pickle.loads(pickle.dumps(model))])
def test_a_copy_made_inside_is_the_source(copied: Any):
    model, x = small().eval(), images()
    with renorm.prediction_time(model, 4):
        other = copied(model)
        assert_close(other(x), small().eval()(x), rtol=0, atol=0)
        assert_close(model(x), by_hand(small(), x, 4), rtol=1e-4, atol=1e-5)
    assert_close(other.train().eval()(x), small().eval()(x), rtol=0, atol=0)


def test_training_inside_is_refused():
    model = small().train()
    with (
        unchanged(model),
        pytest.raises(RuntimeError, match=r"site '1' is in training mode .* Call model\.eval\(\) first"),
    ):
        predicted(model, images())


@pytest.mark.parametrize(
    ("options", "x", "message"),
    [
        ({}, images(1, 1, 1), r"site '1' got a single value per channel, .* or a prior, such as 16"),
        ({"per_image": True}, images(4, 1, 1), r"site '1' got a single value per channel"),
        ({"prior": "auto"}, images(), r"prior=auto was given\. It is a number of images"),
        ({"prior": -1}, images(), r"prior=-1 was given\. It is a number of images"),
        ({"branch": "weak"}, images(), r"branch='weak' was given for a model without branches"),
    ],
    ids=str,
)
def test_what_is_refused(options: Any, x: Tensor, message: str):
    model = small().eval()
    with unchanged(model), pytest.raises(ValueError, match=message):
        predicted(model, x, **options)


@pytest.mark.parametrize(
    "spec",
    [("weak", "strong"), ({"weak": 1, "strong": 1},), ({"weak": 1, "strong": 0},)],
    ids=["interleaved", "blocks", "one"],
)
def test_one_value_for_a_branch_is_refused(spec: Any):
    model = nn.Sequential(nn.BatchNorm1d(3)).eval()
    renorm.split_(model, ["weak", "strong"])
    size = 1 if spec == ({"weak": 1, "strong": 0},) else 2
    with renorm.route(model, *spec), pytest.raises(ValueError, match="site '0' got a single value per channel"):
        predicted(model, torch.randn(size, 3))


@pytest.mark.parametrize(("norm", "name"), [(nn.GroupNorm(1, 3), "GroupNorm"), (nn.LayerNorm(4), "LayerNorm")])
def test_models_without_running_statistics_are_refused_by_name(norm: nn.Module, name: str):
    model = nn.Sequential(nn.Conv2d(3, 3, 1), norm).eval()
    with pytest.raises(
        ValueError, match=rf"no running statistics; its norms are \['{name}'\]\. .* Use a model that has them"
    ):
        predicted(model, images())


class Bare(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("running_mean", torch.zeros(3))
        self.register_buffer("running_var", torch.ones(3))

    def forward(self, x: Tensor) -> Tensor:
        return x


def test_norms_whose_formula_is_unknown_or_whose_statistics_are_broken():
    with pytest.raises(ValueError, match=r"site '0' is a Bare without eps\. .* or use renorm\.adapt_"):
        predicted(nn.Sequential(Bare()).eval(), images())
    model = small().eval()
    model[5].running_mean[2] = torch.nan
    with unchanged(model), pytest.raises(ValueError, match="statistics of site '5' are not finite"):
        predicted(model, images())


class Named(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(3)

    def forward(self, x: Tensor) -> Tensor:
        return self.norm(input=x)


def test_an_input_passed_by_name():
    model = Named().eval()
    assert_close(predicted(model, images()), by_hand(nn.Sequential(nn.BatchNorm2d(3)), images()), rtol=1e-4, atol=1e-5)


def test_moving_is_a_pure_function_of_populations():
    x, population = images(4, 2, 2).double(), torch.tensor([1, 0, 1, 0])
    mean, var = torch.tensor([[1.0, 2, 3], [4, 5, 6]]).double(), torch.tensor([[1.0, 2, 3], [2, 2, 2]]).double()
    y = moved(x, mean, var, 2.0, population=population, num_populations=2, eps=1e-3)
    for k, rows in ((0, [1, 3]), (1, [0, 2])):
        own, unbiased, _ = pooled([x[rows]])
        target = (own + mean[k]) / 2, (unbiased * 7 / 8 + var[k]) / 2
        by_source = (y[rows] - mean[k, :, None, None]) / (var[k, :, None, None] + 1e-3).sqrt()
        by_target = (x[rows] - target[0][:, None, None]) / (target[1][:, None, None] + 1e-3).sqrt()
        assert_close(by_source, by_target)
