"""TENT: the published steps, one branch at a time, and the source back bit for bit."""

import copy
import re
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.testing import assert_close
from torch.utils.checkpoint import checkpoint

import renorm
from renorm.adapt.tent import entropy
from tests.banks.models import Unknown, randomize, rectified, small, unchanged
from tests.oracles.numbers import inp


def classifier(norm: type[nn.Module] = nn.BatchNorm2d, dropout: float = 0.5) -> Any:
    return nn.Sequential(small(norm, dropout=dropout), nn.AdaptiveAvgPool2d(1), nn.Flatten())


def images(size: int = 6, *space: int) -> Tensor:
    return torch.randn((size, 3, *(space or (4, 4))), generator=torch.Generator().manual_seed(4)) + 1


def published(model: nn.Module, batches: list[Tensor], rate: float = 1e-3) -> tuple[list[Tensor], dict[str, Tensor]]:
    """The logits and affine parameters of the published procedure: norms as in training without running statistics."""
    model = copy.deepcopy(model).eval().requires_grad_(False)
    norms = {n: m for n, m in model.named_modules() if isinstance(m, (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d))}
    for norm in norms.values():
        norm.train().requires_grad_(True)
        norm.track_running_stats, norm.running_mean, norm.running_var = False, None, None
    affine = {f"{n}.{k}": p for n, m in norms.items() for k, p in m.named_parameters(recurse=False)}
    optimizer = torch.optim.Adam(affine.values(), lr=rate, betas=(0.9, 0.999), weight_decay=0)
    outputs = []
    for x in batches:
        logits = model(x)
        p = torch.softmax(logits, 1)
        loss = -(p * torch.log(p)).sum(1).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        outputs.append(logits.detach())
    return outputs, {name: p.detach() for name, p in affine.items()}


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("build", [rectified, classifier], ids=["rectified", "dropout"])
def test_the_published_steps(build: Any, training: bool):
    model = build().double().train(training)  # Adam makes steps of the rounding noise of a gradient that is 0
    batches = [1.3 * inp(5, 3, 4, 4, 0.5 + i).double() + 0.4 for i in range(5)]
    outputs, affine = published(model, batches)
    before = model.state_dict()
    others = {k: v.clone() for k, v in before.items() if k not in affine}
    with unchanged(model), renorm.Tent(model) as tent:
        for x, expected in zip(batches, outputs, strict=True):
            y = tent(x)
            assert not y.requires_grad
            assert_close(y, expected)
        state = model.state_dict()
        for name, value in affine.items():
            assert_close(state[name], value)
        for name, value in others.items():
            assert_close(state[name], value, rtol=0, atol=0)
        assert tent.steps == 5
        assert repr(tent) == "Tent over 2 sites and 4 parameters, 5 steps"
    assert repr(tent) == "Tent over 2 sites and 4 parameters, closed"


def test_the_reference_logits_come_first():
    model, x = rectified(), 1.3 * inp(5, 3, 4, 4, 0.5) + 0.4
    with renorm.prediction_time(model):
        expected = model(x)
    with renorm.Tent(model, 1e-2) as tent:
        assert_close(tent(x), expected, rtol=0, atol=0)
        assert (tent(x) - expected).abs().max() > 1e-3


def test_steps_lower_the_entropy_of_the_batch():
    model, x = classifier(), images(16)
    with renorm.Tent(model, 1e-2) as tent:
        levels = [float(entropy(tent(x))) for _ in range(20)]
    assert levels[-1] < levels[0] - 0.05


def test_a_reset_is_the_source_and_starts_over():
    model, batches = classifier().eval(), [images(5), images(6) + 1]
    with unchanged(model):
        tent = renorm.Tent(model, 1e-2)
        first = [tent(x) for x in batches]
        assert (model[0][1].weight - classifier()[0][1].weight).abs().max() > 1e-3
        tent.reset()
        assert tent.steps == 0
        for x, expected in zip(batches, first, strict=True):
            assert_close(tent(x), expected, rtol=0, atol=0)
        tent.reset()
    with unchanged(model):
        tent(batches[0])
        tent.close()
        tent.close()
    with pytest.raises(RuntimeError, match=r"closed was called\. The model has been given back\. Make another"):
        tent(batches[0])


def test_gradients_and_flags_of_others_stay():
    model, x = classifier(), images()
    model[0][0].requires_grad_(False)
    model[0][1].weight.requires_grad = False
    model[0][1].bias.grad = torch.ones(5)
    with unchanged(model), renorm.Tent(model) as tent:
        tent(x)
        assert_close(model[0][1].bias.grad, torch.ones(5))
        assert model[0][4].weight.grad is None
        assert not model[0][1].weight.requires_grad


@pytest.mark.parametrize("norm", [nn.BatchNorm2d, Unknown])
def test_one_branch_moves_and_the_others_do_not(norm: Any):
    plain, model, batches = classifier(norm), classifier(norm), [images(5), images(6) + 1]
    renorm.split_(model, ["weak", "strong"])
    with renorm.Tent(plain, 1e-2) as tent:
        expected = [tent(x) for x in batches]
        moved = renorm.Bank.of(plain, affine=True).sites
        with unchanged(model), renorm.Tent(model, 1e-2, "strong") as other:
            before = renorm.Bank.of(model, "weak", affine=True).sites
            for x, y in zip(batches, expected, strict=True):
                assert_close(other(x), y)
            weak, strong = (renorm.Bank.of(model, name, affine=True).sites for name in ("weak", "strong"))
            for name, source in before.items():
                assert_close((weak[name].weight, weak[name].bias), (source.weight, source.bias), rtol=0, atol=0)
                assert_close((strong[name].weight, strong[name].bias), (moved[name].weight, moved[name].bias))


def test_of_a_sandwich_the_branchs_own_factor_moves():
    model, x = classifier(), images()
    renorm.sandwich_(model, ["clean", "adv"], share=())
    source = copy.deepcopy(model.state_dict())
    with unchanged(model), renorm.Tent(model, 1e-2, "adv") as tent:
        tent(x)
        now = {key for key, value in model.state_dict().items() if not torch.equal(value, source[key])}
        assert now == {f"0.{i}.branch_{kind}" for i in (1, 5) for kind in ("weight", "bias")}
        assert_close(model[0][1].branch_weight[:5], source["0.1.branch_weight"][:5], rtol=0, atol=0)


def test_which_branch_is_meant_is_asked():
    model = classifier()
    renorm.split_(model, ["weak", "strong"])
    with pytest.raises(ValueError, match="no branch was given, and the model has"):
        renorm.Tent(model)
    with renorm.route(model, "strong"):
        assert renorm.Tent(model).branch == "strong"


def test_steps_before_training_with_checkpoints_do_not_confuse_it():
    model, x = classifier(dropout=0.0).train(), images().requires_grad_()
    renorm.split_(model, ["weak", "strong"])
    with renorm.Tent(model, branch="strong") as tent:
        tent(images())
    with renorm.route(model, "weak"):
        y: Any = checkpoint(model, x, use_reentrant=False)
        y.sum().backward()
    assert x.grad is not None


def test_other_norms_and_fused_ones():
    timm = pytest.importorskip("timm")
    model, x = timm.create_model("test_efficientnet", num_classes=3), images(4, 64, 64)
    randomize(model)
    with unchanged(model), renorm.Tent(model) as tent:
        outputs = [tent(x), tent(x)]
    expected, _ = published(model, [x, x])
    assert_close(outputs, expected, rtol=1e-3, atol=1e-3)
    one = nn.Sequential(small(nn.BatchNorm1d, nn.Conv1d), nn.AdaptiveAvgPool1d(1), nn.Flatten())
    expected, _ = published(one, [images(5, 7)])
    with unchanged(one), renorm.Tent(one) as tent:
        assert_close(tent(images(5, 7)), expected[0], rtol=1e-4, atol=1e-5)


def test_maps_of_logits_dicts_and_other_outputs():
    model, x = small().eval(), images()
    with unchanged(model), renorm.Tent(model) as tent:
        assert tent({"input": x}).shape == (6, 7, 4, 4)
    wrapped = renorm.Tent(model, forward=lambda m, batch: {"logits": m(batch["x"])}["logits"])
    with unchanged(model), wrapped:
        wrapped({"x": x, "id": torch.arange(6)})


def test_compiled_autocast_and_inference():
    model, x = classifier().eval(), images()
    compiled: Any = torch.compile(model, backend="aot_eager")
    expected, _ = published(model, [x])
    with unchanged(model):
        with renorm.Tent(compiled) as tent:
            assert_close(tent(x), expected[0], rtol=1e-4, atol=1e-5)
        with renorm.Tent(model) as tent, torch.inference_mode():
            assert_close(tent(x + 0), expected[0], rtol=1e-4, atol=1e-5)
        with renorm.Tent(model) as tent, torch.autocast("cpu", torch.bfloat16):
            assert_close(tent(x).float(), expected[0], rtol=0, atol=0.1)
    with renorm.Tent(classifier().to(memory_format=torch.channels_last)) as tent:
        assert_close(tent(x.contiguous(memory_format=torch.channels_last)), expected[0], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("kind", [ValueError, KeyboardInterrupt])
@pytest.mark.parametrize("where", ["forward", "step"])
def test_an_interruption_changes_nothing(where: str, kind: type[BaseException], monkeypatch: pytest.MonkeyPatch):
    model, x = classifier().train(), images()
    expected = published(model, [x, x], 1e-2)[0]
    with unchanged(model), renorm.Tent(model, 1e-2) as tent:
        tent(x)

        def stop(*_: Any) -> None:
            raise kind("stop")

        def half(*_: Any) -> None:
            with torch.no_grad():
                model[0][1].weight.add_(1)
            raise kind("stop")

        with monkeypatch.context() as patch:
            if where == "forward":
                patch.setattr(model[0][4], "forward", stop)
            else:
                patch.setattr(tent._optimizer, "step", half)
            with unchanged(model), pytest.raises(kind, match="stop"):
                tent(x)
        assert tent.steps == 1
        assert_close(tent(x), expected[1], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("x", "error", "message"),
    [
        (images() * torch.nan, ValueError, r"the images hold NaN or infinity\. .* Drop such images"),
        (images() / 0, ValueError, r"the images hold NaN or infinity"),
        (images(0), ValueError, r"no image was given\. A step needs at least one"),
        (images(1, 1, 1), ValueError, r"site '0\.1' got a single value per channel"),
        ("picture.png", TypeError, r"type str without tensors was given"),
    ],
    ids=["NaN", "infinity", "none", "one value", "path"],
)
def test_images_that_are_refused_change_nothing(x: Any, error: type[Exception], message: str):
    model = classifier().train()
    with unchanged(model), renorm.Tent(model) as tent:
        tent(images())
        with unchanged(model), pytest.raises(error, match=message):
            tent(x)
        assert tent.steps == 1
        expected = published(model, [images()])[0]
        tent.reset()
        assert_close(
            tent(images()), expected[0] if False else published(classifier(), [images()])[0][0], rtol=1e-4, atol=1e-5
        )


def test_outputs_that_are_no_logits_are_refused():
    model = classifier()
    for made, what in ((lambda m, x: [m(x)], "type list"), (lambda m, x: m(x)[:, :1], r"shape \(6, 1\)")):
        with unchanged(model), renorm.Tent(model, forward=made) as tent:
            with pytest.raises(TypeError, match=rf"an output of {what}\. Entropy is of logits .* Pass forward="):
                tent(images())
            assert tent.steps == 0
    broken = renorm.Tent(model, forward=lambda m, x: m(x) * torch.inf)
    with (
        unchanged(model),
        pytest.raises(ValueError, match=r"the entropy or its gradient is not finite\. A step would break"),
    ):
        broken(images())


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (nn.Sequential(nn.Conv2d(3, 4, 1), nn.GroupNorm(2, 4)), r"its norms are \['GroupNorm'\]"),
        (nn.Sequential(nn.Linear(3, 4), nn.LayerNorm(4)), r"its norms are \['LayerNorm'\]"),
        (
            nn.Sequential(nn.BatchNorm2d(3, affine=False)),
            r"none of the 1 sites has a scale or bias\. .* or renorm\.adapt_",
        ),
        (nn.Sequential(nn.BatchNorm2d(3)).bfloat16(), r"0\.weight is torch\.bfloat16\. .* or call model\.float\(\)"),
    ],
    ids=["GroupNorm", "LayerNorm", "no affine", "half"],
)
def test_models_that_are_refused(model: nn.Module, message: str):
    with unchanged(model), pytest.raises(ValueError, match=message):
        renorm.Tent(model)


@pytest.mark.parametrize("rate", [0, -1e-3, float("nan"), float("inf")])
def test_a_rate_that_is_none(rate: float):
    with pytest.raises(ValueError, match=re.escape(f"rate={rate} was given.")):
        renorm.Tent(classifier(), rate)


def test_what_others_did_to_the_parameters_is_not_lost():
    model, x = classifier().eval(), images()
    with unchanged(model):
        first = renorm.Tent(model)
        first(x)
        second = renorm.Tent(model)
        second(x)
        for verb in (first.reset, first.close):
            with pytest.raises(RuntimeError, match=r"have changed since: Tent over .* make another Tent"):
                verb()
        second.close()
        first.close()


def test_another_thread_is_refused():
    model, x = classifier().eval(), images()
    with renorm.Tent(model) as tent, ThreadPoolExecutor(1) as pool:
        with (
            renorm.using(model, renorm.Bank.of(model)),
            pytest.raises(RuntimeError, match="another thread is measuring"),
        ):
            pool.submit(tent, x).result()
        pool.submit(tent, x).result()


def test_entropy_of_certain_and_uncertain_predictions():
    logits = torch.tensor([[0.0, 0, 0, 0], [100, 0, 0, 0], [-1e30, 1e30, 0, 0]])
    assert_close(torch.stack([entropy(row[None]) for row in logits]), torch.tensor([4.0, 1, 1]).log())
    assert_close(entropy(logits[:2, :, None].expand(2, 4, 5)), torch.tensor(2.0).log())
    assert entropy(logits[:1].half()).dtype == torch.float32
