"""Options of a step: each does what it says and nothing else."""

from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.testing import assert_close

import renorm
from renorm.recipes.classify import Classification, check, configured
from renorm.recipes.classify.recipe import sgd
from renorm.recipes.classify.views import Batch
from renorm.train import Run, train
from tests.recipes.classify import small


def one_step(**changes: Any) -> tuple[dict[str, float], dict[str, Tensor]]:
    """Numbers and gradients of a first step."""
    recipe = small.recipe(**{"batch": 32, **changes})
    numbers = recipe.step(next(iter(recipe.batches(0, 0))))
    gradients = {name: p.grad.clone() for name, p in recipe.model.named_parameters() if p.grad is not None}
    return numbers, gradients


@pytest.fixture
def without_batch_norm(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("renorm.recipes.classify.start.create", lambda name, num_classes: small.Plain(num_classes))


@pytest.mark.parametrize("number", [2, 5, 16])
@pytest.mark.usefixtures("without_batch_norm")
def test_a_divided_step_has_the_gradient_of_the_whole(number: int):
    whole = one_step(norm="shared", label_smoothing=0.1)
    assert_close(one_step(norm="shared", label_smoothing=0.1, accumulate=number), whole, rtol=1e-4, atol=1e-6)


@pytest.mark.usefixtures("without_batch_norm")
def test_the_mean_of_unequal_parts_would_not_do():
    recipe = small.recipe(norm="shared", batch=14)  # 7 images, as 4 + 3
    (_, gradients), (batch, *_) = one_step(norm="shared", batch=14, accumulate=2), recipe.batches(0, 0)
    recipe.optimizer.zero_grad()
    for views, labels in zip(batch.views.split([4, 3]), batch.labels.split([4, 3]), strict=True):
        y = recipe.model(recipe.classifier.normalize(views.flatten(0, 1)))
        (F.cross_entropy(y, labels.repeat_interleave(2)) / 2).backward()
    naive = {name: p.grad for name, p in recipe.model.named_parameters()}
    with pytest.raises(AssertionError):
        assert_close(naive, gradients, rtol=1e-2, atol=1e-4)


def test_norms_see_the_statistics_of_each_forward():
    (whole, _), (divided, _) = one_step(), one_step(accumulate=4)
    assert abs(whole["loss"] - divided["loss"]) > 1e-3


def test_label_smoothing_mixes_the_target_with_all_classes():
    recipe = small.recipe(norm="shared", batch=32, label_smoothing=0.3)
    batch = next(iter(recipe.batches(0, 0)))
    with torch.no_grad(), renorm.frozen_statistics(recipe.model):
        y = recipe.model.train()(recipe.classifier.normalize(batch.views.flatten(0, 1))).double()
    targets = 0.7 * F.one_hot(batch.labels.repeat_interleave(2), 10) + 0.3 / 10
    expected = -(targets * y.log_softmax(1)).sum(1).mean()
    assert_close(recipe.step(batch)["loss"], expected.item(), rtol=1e-5, atol=0)


def test_a_short_last_step_is_kept_and_weighs_its_own_images():
    recipe = small.recipe(batch=96, keep_last=True)
    steps = list(recipe.batches(0, 0))
    assert [batch.total for batch in steps] == [48, 48, 48, 16]
    assert recipe.plan.steps == 4
    assert small.recipe(batch=96).plan.steps == 3
    assert recipe.step(steps[-1])["loss"] == pytest.approx(2.3, abs=0.5)


def test_a_short_last_step_counts_less_in_the_means_of_an_epoch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    recipe, run, found = small.recipe(batch=96, keep_last=True, epochs=1, save_every=0), Run(tmp_path / "run"), []
    step = recipe.step

    def noted(batch: Batch) -> dict[str, float]:
        numbers = step(batch)
        found.append((numbers["loss"], batch.total))
        return numbers

    monkeypatch.setattr(recipe, "step", noted)
    run.start(asdict(recipe.config))
    train(recipe, run)
    assert len({total for _, total in found}) == 2
    losses, totals = zip(*found, strict=True)
    weighted = sum(loss * total for loss, total in found) / sum(totals)
    assert run.history()[0]["loss"] == pytest.approx(weighted, rel=1e-6)
    assert abs(sum(losses) / len(losses) - weighted) > 1e-4


def test_channels_last_changes_nothing_but_the_layout():
    recipe = small.recipe(memory_format="channels_last")
    assert recipe.model.get_parameter("layer1.0.conv1.weight").is_contiguous(memory_format=torch.channels_last)
    assert_close(one_step(memory_format="channels_last"), one_step(), rtol=1e-3, atol=1e-4)


def test_bf16_keeps_weights_statistics_and_the_loss_in_float32():
    recipe = small.recipe(precision="bf16")
    seen = []
    recipe.model.get_submodule("layer1.0.bn1").register_forward_hook(
        lambda _, args, y: seen.append((args[0].dtype, y.dtype))
    )
    numbers = recipe.step(next(iter(recipe.batches(0, 0))))
    assert seen == [(torch.bfloat16, torch.bfloat16)]
    assert {t.dtype for t in recipe.model.state_dict().values() if t.is_floating_point()} == {torch.float32}
    assert {p.grad.dtype for p in recipe.model.parameters() if p.grad is not None} == {torch.float32}
    (other, gradients), (_, rounded) = one_step(), one_step(precision="bf16")
    assert numbers["loss"] != float(torch.tensor(numbers["loss"]).bfloat16())
    for name, gradient in gradients.items():
        assert F.cosine_similarity(gradient.flatten(), rounded[name].flatten(), dim=0) > 0.9, name
    assert other["loss"] == pytest.approx(one_step(precision="bf16")[0]["loss"], rel=0.02)


def test_fp16_scales_the_loss_and_gives_the_gradients_of_the_loss_itself():
    (plain, gradients), (numbers, scaled) = one_step(), one_step(precision="fp16")
    assert numbers["loss"] == pytest.approx(plain["loss"], rel=0.01)
    for name, gradient in gradients.items():
        assert F.cosine_similarity(gradient.flatten(), scaled[name].flatten(), dim=0) > 0.99, name
        assert_close(scaled[name].norm(), gradient.norm(), rtol=0.05, atol=0)


def test_a_step_whose_gradients_overflow_is_left_out_and_the_scale_falls():
    recipe = small.recipe(precision="fp16")
    recipe.scaler = torch.amp.GradScaler("cpu", init_scale=2.0**60)
    before = {name: p.detach().clone() for name, p in recipe.model.named_parameters()}
    recipe.step(next(iter(recipe.batches(0, 0))))
    assert_close(dict(recipe.model.named_parameters()), before, rtol=0, atol=0)
    assert recipe.scaler.get_scale() == 2.0**59


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"ema": 0.9}, r"--shard with --ema: averaged weights are whole in each process. Leave one of them out"),
        ({"branches": ("weak", "adv")}, r"--shard with the view adv: attacks call the model .* wait for all"),
        ({"compile": True}, r"--shard with --compile: "),
        ({"precision": "fp16"}, r"--shard with --precision fp16: each process would skip steps"),
        ({"norm": "shared", "sync_bn": True}, r"--shard with --sync-bn --norm shared: "),
    ],
)
def test_what_does_not_go_with_a_divided_model_is_refused(changes: dict[str, Any], message: str):
    with pytest.raises(ValueError, match=message):
        check(configured(batch=32, shard=True, **changes), small.images()[0], processes=2)


class Counting:
    """A backend that runs the graphs it is given as they are, and counts them."""

    def __init__(self) -> None:
        self.graphs = 0

    def __call__(self, graph: Any, inputs: Any) -> Any:
        self.graphs += 1
        return graph.forward


@pytest.mark.parametrize(
    "changes",
    [
        {},
        pytest.param({"norm": "shared"}, marks=pytest.mark.slow),
        pytest.param({"memory_format": "channels_last"}, marks=pytest.mark.slow),
    ],
)
def test_compiled_steps_are_eager_steps_in_at_most_two_graphs(monkeypatch: pytest.MonkeyPatch, changes: dict[str, Any]):
    backend = Counting()
    torch._dynamo.reset()
    monkeypatch.setattr("renorm.recipes.classify.recipe.BACKEND", backend)
    recipes = [
        small.recipe(compile=compiled, batch=96, keep_last=True, rate=0.001, **changes) for compiled in (True, False)
    ]

    def train(recipe: Classification) -> list[dict[str, float]]:
        recipe.optimizer.param_groups[0]["lr"] = 0.001
        losses = [recipe.step(batch) for batch in recipe.batches(0, 0)]  # three of 48 images and one of 16
        return [*losses, recipe.validate()]

    with torch._dynamo.config.patch(error_on_recompile=False):
        assert_close(train(recipes[0]), train(recipes[1]), rtol=1e-3, atol=1e-4)
    assert 1 <= backend.graphs <= 2
    assert not torch._dynamo.utils.counters["graph_break"]
    assert recipes[0].weights()["model"].keys() == recipes[1].weights()["model"].keys()


def test_norms_and_biases_may_be_left_to_themselves():
    model = small.recipe().model
    groups = sgd(model, configured(decay_norms=False)).param_groups
    assert [group["weight_decay"] for group in groups] == [5e-4, 0.0]
    assert {p.ndim for p in groups[1]["params"]} == {1}
    assert sum(len(group["params"]) for group in groups) == len(list(model.parameters()))
    assert len(sgd(model, configured()).param_groups) == 1


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"ema": 1.0}, r"--ema 1.0: a decay between 0 and 1 is needed. Try 0.999"),
        ({"ema": 0.9, "ema_images": 0}, r"--ema-images 0: at least 1 is needed. Leave it out"),
        ({"label_smoothing": 1.0}, r"--label-smoothing 1.0: a share from 0 to 1, without 1, is needed. Try 0.1"),
        ({"epochs": 0}, r"--epochs 0: 1 or more are needed. Leave it out for 30"),
        ({"rate": 0.0}, r"--rate 0.0: a number above 0 is needed. Leave it out for 0.1"),
        ({"rate": float("nan")}, r"--rate nan: a number above 0 is needed"),
        ({"warmup": -1.0}, r"--warmup -1.0: 0 or more epochs are needed"),
        ({"momentum": 1.0}, r"--momentum 1.0: from 0 to 1, without 1, is needed"),
        ({"weight_decay": -0.1}, r"--weight-decay -0.1: 0 or more is needed"),
        ({"save_every": -1}, r"--save-every -1: 0 or more steps are needed"),
        ({"num_workers": -1}, r"--num-workers -1: 0 or more processes are needed"),
        ({"magnitude": 99}, r"99.*0 to 30"),
        ({"precision": "fp8"}, r"--precision fp8: no, bf16 or fp16 is needed. Leave it out"),
        (
            {"precision": "fp16", "branches": ("weak", "adv")},
            r"--precision fp16 with the view adv: .* not scaled, and may vanish .* Use bf16",
        ),
        ({"shard": True}, r"--shard in one process: it divides the model among several. Start them by torchrun"),
        ({"accumulate": 33}, r"--accumulate 33 on 1 process divides the 32 images of a step: .*needs one. Use 1 to 32"),
        ({"accumulate": 0}, r"--accumulate 0 on 1 process .* Use 1 to 32, or a larger --batch"),
    ],
)
def test_what_makes_no_sense_is_refused(changes: dict[str, Any], message: str):
    with pytest.raises(ValueError, match=message):
        small.recipe(**changes)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"share": ("affine",), "norm": "shared"}, r"--share with --norm shared, in which .* out, or add --norm split"),
        ({"attack_steps": 3}, r"--attack-steps with no branch with the view adv: .* or add --branches clean adv"),
        ({"attack_start": False}, r"--no-attack-start with no branch with the view adv"),
        (
            {"trades_beta": 3.0},
            r"--trades-beta with --adv-loss cross-entropy: it would do nothing. .* --adv-loss trades",
        ),
        ({"ema_images": 64}, r"--ema-images with no --ema: it would do nothing. Leave it out, or add --ema 0.999"),
    ],
)
def test_what_would_do_nothing_is_refused(changes: dict[str, Any], message: str):
    with pytest.raises(ValueError, match=message):
        small.recipe(**changes)
