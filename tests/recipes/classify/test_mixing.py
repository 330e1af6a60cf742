"""Mixing in the recipe: what is drawn, what the loss is of it, and what an option means."""

import json
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.testing import assert_close

import renorm
from renorm import CutMix, MomentExchange
from renorm.functional import exchange_moments
from renorm.mix.draws import Draw
from renorm.models import create
from renorm.recipes.classify import Classification, configured, mixing
from renorm.recipes.classify.mixing import position_of
from renorm.recipes.classify.views import Batch
from tests.conftest import ROOT
from tests.recipes.classify import small
from tests.recipes.classify.test_classify import trace
from tests.recipes.classify.test_options import Counting

GOLDEN = json.loads((ROOT / "tests" / "golden" / "mix.json").read_text())
ALWAYS = {"exchange_probability": 1.0, "exchange_weight": 0.7}
KINDS: dict[str, dict[str, Any]] = {
    "exchange": ALWAYS,
    "cutmix": {"image_probability": 1.0},
    "mixup": {},
    "exchange+cutmix": {**ALWAYS, "image_probability": 1.0},
}


def first(recipe: Classification) -> Batch:
    return next(iter(recipe.batches(0, 0)))


def newest(recipe: Classification) -> Draw:
    assert recipe.mix is not None
    assert recipe.mix.draw is not None
    return recipe.mix.draw


@pytest.mark.parametrize("case", GOLDEN)
def test_the_first_ten_losses_are_the_golden_ones(case: str):
    mix, norm = case.split(", ")
    often: dict[str, Any] = {"exchange_probability": 0.6} if "exchange" in mix else {}
    assert_close(trace(mix=mix, norm=norm, **often), GOLDEN[case], rtol=1e-4, atol=0)


@pytest.fixture
def without_batch_norm(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("renorm.recipes.classify.start.create", lambda name, num_classes: small.Plain(num_classes))


def by_hand(model: Any, x: Tensor, draw: Draw) -> Tensor:
    """Logits of what a draw does to the images, and to the features after the convolution."""
    if draw.box is not None:
        top, left, bottom, right = draw.box
        x = x.clone()
        x[:, :, top:bottom, left:right] = x[draw.permutation][:, :, top:bottom, left:right]
    elif draw.pixels < 1:
        x = draw.pixels * x + (1 - draw.pixels) * x[draw.permutation]
    h = model.conv(x)
    h = h if draw.donors is None else exchange_moments(h, draw.donors)
    return model.head(model.norm(h).relu().mean((2, 3)))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("memory_format", ["contiguous", "channels_last"])
@pytest.mark.usefixtures("without_batch_norm")
def test_a_step_is_the_published_one_by_hand(kind: str, memory_format: str):
    after = {"exchange_after": "conv"} if "exchange" in kind else {}
    recipe = small.recipe(
        norm="shared", mix=kind, memory_format=memory_format, label_smoothing=0.1, **KINDS[kind], **after
    )
    batch, model = first(recipe), small.Plain(10)
    model.load_state_dict(recipe.model.state_dict())
    numbers, draw = recipe.step(batch), newest(recipe)
    order = (
        (lambda t: t.transpose(0, 1).flatten(0, 1)) if memory_format == "channels_last" else (lambda t: t.flatten(0, 1))
    )
    x = order(recipe.classifier.normalize(batch.views.flatten(0, 1)).unflatten(0, (-1, 2)))
    y, branch = order(torch.stack([batch.labels] * 2, 1)), order(torch.tensor([[0, 1]] * 32))
    pi, c, m = draw.permutation, draw.pixels, draw.moments
    assert torch.equal(branch[pi], branch)
    logits = by_hand(model, x, draw)
    weights = [c * m, (1 - c) * m + c * (1 - m), (1 - c) * (1 - m)]
    soft: Any = sum(w * F.one_hot(t, 10) for w, t in zip(weights, (y, y[pi], y[pi][pi]), strict=True))
    losses = -((0.9 * soft + 0.01) * logits.log_softmax(1)).sum(1)
    hits = (soft * F.one_hot(logits.argmax(1), 10)).sum(1)
    losses.mean().backward()
    wanted = {"loss": losses.mean(), "own_label": torch.tensor(c * m)}
    for i, name in enumerate(("weak", "clean")):
        wanted |= {f"loss/{name}": losses[branch == i].mean(), f"accuracy/{name}": hits[branch == i].mean()}
    assert_close(numbers, {key: value.item() for key, value in wanted.items()}, rtol=1e-4, atol=1e-6)
    assert c * m < 1
    assert_close(
        [p.grad for p in recipe.model.parameters()], [p.grad for p in model.parameters()], rtol=1e-3, atol=1e-5
    )


def drawn(**changes: Any) -> list[Draw]:
    """What the first steps of a recipe draw, epoch by epoch, from a step of the first on."""
    recipe = small.recipe(**{"batch": 64, "model": "resnet8", "mix": "exchange+cutmix", **ALWAYS, **changes})
    assert recipe.mix is not None
    found = []
    for epoch, step in ((0, 0), (0, 1), (1, 0)):
        views = torch.zeros(32 * len(recipe.config.branches), 3, 16, 16)
        recipe._mixed(views, recipe.config.branches, (epoch, step))
        found.append(newest(recipe))
    return found


def same(one: Draw, other: Draw) -> bool:
    return torch.equal(one.permutation, other.permutation) and (one.box, one.moments) == (other.box, other.moments)


def test_draws_follow_from_the_seed_and_the_place_and_are_those_of_every_norm():
    split = drawn()
    torch.manual_seed(99)
    assert all(map(same, split, drawn(norm="shared")))
    assert not any(map(same, split, drawn(seed=1)))
    assert not same(split[0], split[1])
    assert not same(split[0], split[2])


@pytest.mark.parametrize("norm", ["split", "shared"])
def test_partners_are_views_of_one_branch_unless_asked_otherwise(norm: str):
    rows = torch.arange(64)
    within, across = drawn(norm=norm), drawn(norm=norm, mix_across=True)
    assert all(torch.equal(draw.permutation % 2, rows % 2) for draw in within)
    assert not any(torch.equal(draw.permutation % 2, rows % 2) for draw in across)
    recipe = small.recipe(norm=norm, mix="exchange+cutmix", mix_across=True, **ALWAYS)
    assert recipe.step(first(recipe))["own_label"] <= 0.7


def test_forwards_of_a_step_have_partners_of_their_own_and_do_the_same():
    recipe = small.recipe(mix="exchange+cutmix", accumulate=3, exchange_probability=0.5, keep_last=True, batch=72)
    mix, seen = recipe.mix, []
    assert mix is not None
    use = mix.use
    mix.use = lambda draw: (seen.append(draw), use(draw))[1]  # pyright: ignore[reportAttributeAccessIssue]
    decisions = set()
    for batch in recipe.batches(0, 0):
        seen.clear()
        numbers = recipe.step(batch)
        assert [len(draw.permutation) for draw in seen] == [2 * size for size in batch.sizes]
        assert len({(draw.box, draw.pixels, draw.moments, draw.donors is None) for draw in seen}) == 1
        assert numbers["own_label"] == pytest.approx(seen[0].pixels * seen[0].moments)
        decisions.add(seen[0].donors is None)
    assert decisions == {True, False}


def test_evaluation_and_averages_are_not_mixed():
    recipe = small.recipe(mix="exchange+cutmix", ema=0.9, ema_images=32, **ALWAYS)
    recipe.step(first(recipe))
    recipe.finish()
    with pytest.raises(ValueError, match="has no exchange"):
        MomentExchange.of(recipe.evaluated)
    once = recipe.validate()
    assert recipe.mix is not None
    assert recipe.mix.exchange is not None
    recipe.mix.exchange.remove()
    assert recipe.validate() == once
    assert recipe.weights()["model"].keys() == small.recipe().weights()["model"].keys()


def test_mixed_images_and_bf16_and_a_shared_affine_train_together():
    shared = {"norm": "shared", "sync_bn": True}
    for changes in ({"share": ("affine",)}, shared, {"branches": ("weak",)}, {"norm": "sandwich"}):
        recipe = small.recipe(mix="exchange+cutmix", precision="bf16", exchange_over="gn", exchange_groups=4, **changes)
        assert 1 < recipe.step(first(recipe))["loss"] < 4


def test_attacked_views_are_mixed_once_they_are_attacked():
    recipe = small.recipe(
        mix="exchange+cutmix", branches=("clean", "adv"), attack_steps=1, image_probability=1.0, batch=16, **ALWAYS
    )
    numbers = recipe.step(first(recipe))
    assert numbers["own_label"] < 0.7
    assert numbers["loss/adv"] > 0


@pytest.mark.slow
def test_a_compiled_step_is_the_eager_one(monkeypatch: pytest.MonkeyPatch):
    backend = Counting()
    torch._dynamo.reset()
    monkeypatch.setattr("renorm.recipes.classify.recipe.BACKEND", backend)
    options = {"mix": "exchange+cutmix", "exchange_probability": 0.5, "rate": 0.001, "batch": 32}
    eager, compiled = (small.recipe(compile=each, **options) for each in (False, True))
    seen = set()
    with torch._dynamo.config.patch(error_on_recompile=False):
        for one, other in zip(list(eager.batches(0, 0))[:6], compiled.batches(0, 0), strict=False):
            assert_close(compiled.step(other), eager.step(one), rtol=1e-3, atol=1e-4)
            seen.add(newest(eager).donors is None)
    assert seen == {True, False}
    assert 1 <= backend.graphs <= 2
    assert not torch._dynamo.utils.counters["graph_break"]


@pytest.mark.parametrize(
    ("kind", "size", "weight", "probability", "images"),
    [
        ("exchange", 32, 0.5, 0.25, None),
        ("exchange+cutmix", 96, 0.5, 0.25, CutMix(1.0, 0.5)),
        ("exchange", 97, 0.9, 1.0, None),
        ("exchange+cutmix", 224, 0.9, 0.25, CutMix(1.0, 1.0)),
        ("cutmix", 32, None, None, CutMix(1.0, 0.5)),
        ("mixup", 32, None, None, renorm.Mixup(1.0, 1.0)),
        ("mixup", 224, None, None, renorm.Mixup(0.2, 1.0)),
    ],
)
def test_published_settings(kind: Any, size: int, weight: Any, probability: Any, images: Any):
    mix = mixing.mix_of(configured(mix=kind), create("resnet8"), size)
    assert mix is not None
    assert mix.images == images
    if mix.exchange is None:
        assert weight is None
    else:
        settings = mix.exchange.settings
        assert (settings.weight, settings.probability, settings.over) == (weight, probability, "pono")
        assert settings.before == "layer1"


POSITIONS = {
    "torchvision:resnet18": {"after": "maxpool"},
    "timm:resnet50d": {"after": "maxpool"},
    "torchvision:densenet121": {"after": "features.pool0"},
    "timm:densenet121": {"after": "features.pool0"},
    "timm:efficientnet_b0": {"before": "blocks"},
    "timm:regnetx_002": {"before": "s1"},
    "torchvision:regnet_x_400mf": {"before": "trunk_output"},
    "torchvision:mobilenet_v2": {"after": "features.0"},
    "resnet8": {"before": "layer1"},
    "wrn-10-1": {"before": "layer1"},
    "preact-resnet18": {"before": "layer1"},
    "densenet-bc-10-4": {"before": "features"},
    "vgg11-bn": {"after": "features.0"},
}


@pytest.mark.parametrize("name", POSITIONS)
def test_the_position_of_a_family_is_one_that_every_forward_passes(name: str):
    model = create(name, num_classes=5).train()
    assert position_of(model, name) == POSITIONS[name]
    renorm.split_(model, ["weak", "strong"])
    assert position_of(model, name) == POSITIONS[name]
    config = configured(model=name, mix="exchange", exchange_probability=1.0)
    mix = mixing.mix_of(config, model, 32)
    assert mix is not None
    x, y = torch.randn(4, 3, 32, 32), torch.tensor([0, 1, 2, 3])
    with renorm.route(model, "weak", "strong"), torch.no_grad():
        assert mix.loss(F.cross_entropy, model(mix(x)), y).isfinite()  # an error if the exchange is not passed


def test_a_network_of_another_kind_needs_the_name_of_a_layer():
    model: nn.Module = create("timm:vit_tiny_patch16_224", num_classes=5, img_size=32, depth=1)
    with pytest.raises(
        ValueError, match=r"exchange in timm:vit.*needs a name. Add --exchange-after LAYER.*patch_embed.*channel-dim -1"
    ):
        mixing.mix_of(configured(model="timm:vit", mix="exchange"), model, 32)
    named = configured(mix="exchange", exchange_after="blocks.0", exchange_channel_dim=-1, exchange_over="in")
    mix = mixing.mix_of(named, model, 32)
    assert mix is not None
    assert mix.exchange is not None
    assert (mix.exchange.settings.channel_dim, mix.exchange.settings.over) == (-1, "in")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"exchange_weight": 0.5}, r"--exchange-weight with no --mix: it would do nothing.*add --mix exchange"),
        ({"mix": "cutmix", "exchange_over": "in"}, r"--exchange-over in with --mix cutmix: .* Leave it out, or"),
        ({"mix": "mixup", "exchange_channel_dim": -1}, r"--exchange-channel-dim -1 with --mix mixup"),
        ({"mix": "exchange", "image_beta": 0.3}, r"--image-beta 0.3 with --mix exchange: it is about mixed images"),
        ({"image_probability": 1.0}, r"--image-probability with no --mix: .*add --mix cutmix"),
        ({"mix_across": True}, r"--mix-across with no --mix: it would do nothing. Leave it out"),
        (
            {"mix": "exchange", "batch": 2},
            r"with 1 images in a step, 1 forwards on 1 process: .* Use --batch 4 or more",
        ),
        ({"mix": "mixup", "batch": 64, "accumulate": 17}, r"17 forwards on 1 process: a partner .* Use --batch 68"),
        (
            {"mix": "exchange", "exchange_weight": 2.0},
            r"weight=2.0 was given. It is a share. Pass a number from 0 to 1",
        ),
        ({"mix": "cutmix", "image_beta": 0.0}, r"beta=0.0 was given.*above 0"),
        ({"mix": "exchange", "exchange_after": "layr1"}, r"'layr1' is not a layer of ResNet.*Did you mean 'layer1'"),
        ({"mix": "exchange", "exchange_after": "bn1", "exchange_before": "layer1"}, r"An exchange has one position"),
        ({"mix": "exchange", "exchange_over": "gn"}, r"over='gn'.*groups"),
        (
            {"mix": "exchange", "exchange_over": "gn", "exchange_groups": 7},
            r"exchange before 'layer1': 16 channels cannot be divided by 7.*Pass a divisor of 16",
        ),
    ],
)
def test_what_makes_no_sense_is_refused(changes: dict[str, Any], message: str):
    with pytest.raises(ValueError, match=message):
        small.recipe(**changes)
