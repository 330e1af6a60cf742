"""Exchange at a layer of any model: where, when, for whom, and gone without a trace."""

import copy
import gc
import io
import pickle
from collections.abc import Callable
from typing import Any

import pytest
import timm
import torch
import torch.nn.functional as F
import torchvision
from torch import Tensor, nn
from torch._dynamo.backends.registry import lookup_backend
from torch.testing import assert_close
from torch.utils.checkpoint import checkpoint

import renorm
from renorm import MomentExchange
from renorm.functional import exchange_moments
from renorm.mix.switch import switches_of
from renorm.routing.recompute import KEPT


class Net(nn.Module):
    """A stem, a body that may be checkpointed, and a head."""

    def __init__(self, checkpointed: bool = False, reentrant: bool = False) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 6, 3)
        self.pool = nn.MaxPool2d(2)
        self.body = nn.Sequential(nn.Conv2d(6, 6, 1), nn.BatchNorm2d(6), nn.ReLU(inplace=True))
        self.head = nn.Linear(6, 5)
        self.checkpointed, self.reentrant = checkpointed, reentrant

    def forward(self, x: Tensor) -> Tensor:
        x = self.pool(self.stem(x))
        h: Any = checkpoint(self.body, x, use_reentrant=self.reentrant) if self.checkpointed else self.body(x)
        return self.head(h.mean((2, 3)))


def net(**options: Any) -> Net:
    torch.manual_seed(0)
    return Net(**options)


def batch(n: int = 6, seed: int = 0, size: int = 8) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(n, 3, size, size, generator=generator), torch.randint(0, 5, (n,), generator=generator)


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def by_hand(model: Net, x: Tensor, donors: Tensor, **options: Any) -> Tensor:
    h = model.body(exchange_moments(model.pool(model.stem(x)), donors, **options))
    return model.head(h.mean((2, 3)))


def gradients(model: nn.Module) -> list[Tensor]:
    return [p.grad.clone() for p in model.parameters() if p.grad is not None]


# The method


@pytest.mark.parametrize("where", [{"after": "pool"}, {"before": "body"}, {"before": "body.0"}], ids=str)
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"over": "in"},
        {"over": "gn", "groups": 2},
        {"over": "gpono", "group_size": 3},
        {"over": "ln", "detach": True},
    ],
    ids=str,
)
def test_a_step_is_the_exchange_by_hand(options, where):
    model, (x, y) = net(), batch()
    reference = copy.deepcopy(model)
    settings: dict[str, Any] = {"weight": 0.7, **where, **options}
    mix = MomentExchange(model, **settings)
    loss = mix.loss(F.cross_entropy, model(mix(x, seeded(1))), y)
    loss.backward()
    assert mix.draw is not None
    pi = mix.draw.permutation
    logits = by_hand(reference, x, pi, **options)
    want = 0.7 * F.cross_entropy(logits, y) + 0.3 * F.cross_entropy(logits, y[pi])
    want.backward()
    assert_close(loss, want)
    assert_close(gradients(model), gradients(reference))
    assert_close(model.state_dict(), reference.state_dict())  # the stem ran once: one update of its statistics


MODELS: dict[str, tuple[Callable[[], nn.Module], list[dict[str, Any]]]] = {
    "torchvision": (lambda: torchvision.models.resnet18(), [{"after": "maxpool"}, {"after": "layer2.0.bn1"}]),
    "timm": (lambda: timm.create_model("resnet18"), [{"after": "maxpool"}, {"after": "layer1"}]),
    "fused": (lambda: timm.create_model("mobilenetv3_small_050"), [{"after": "bn1"}, {"before": "bn1"}]),
    "ours": (lambda: renorm.models.create("resnet20"), [{"after": "bn1"}, {"before": "layer1"}, {"after": "layer1"}]),
}


@pytest.mark.parametrize("name", MODELS)
def test_any_named_layer_of_any_model(name):
    make, positions = MODELS[name]
    model, x = make().train(), torch.randn(4, 3, 64, 64)
    with renorm.frozen_statistics(model):
        plain = model(x)
        for position in positions:
            mix = MomentExchange(model, over="pono", **position)
            y = model(mix(x, seeded(0)))
            assert y.shape == plain.shape
            assert not torch.allclose(y, plain, rtol=1e-2)
            mix.remove()
        assert_close(model(x), plain, rtol=0, atol=0)


def test_densenet_after_its_pool_and_never_inside_a_fused_norm():
    model = timm.create_model("densenet121")
    MomentExchange(model, after="features.pool0").remove()
    for inside in ("features.norm0.act", "features.norm0.drop"):
        with pytest.raises(
            ValueError, match=r"inside the norm 'features.norm0' \(BatchNormAct2d\).*before='features.norm0'"
        ):
            MomentExchange(model, after=inside)
    renorm.split_(model, ["weak", "strong"])
    with pytest.raises(ValueError, match=r"inside the norm 'features.norm0' \(SplitBatchNorm\)"):
        MomentExchange(model, before="features.norm0.act")


def test_tokens_of_a_transformer():
    model: Any = timm.create_model("vit_tiny_patch16_224", img_size=32, num_classes=5, depth=2)
    x, y = torch.randn(4, 3, 32, 32), torch.tensor([0, 1, 2, 3])
    seen: list[Tensor] = []
    model.blocks[0].register_forward_hook(lambda _, args, out: seen.append(out))
    mix = MomentExchange(model, after="blocks.0", channel_dim=-1)
    model.blocks[1].register_forward_pre_hook(lambda _, args: seen.append(args[0]))
    logits = model(mix(x))
    assert mix.draw is not None
    assert_close(seen[1], exchange_moments(seen[0], mix.draw.permutation, channel_dim=-1))
    mix.loss(F.cross_entropy, logits, y).backward()


@pytest.mark.parametrize("over", ["pono", "in", "ln"])
@pytest.mark.parametrize(("channels", "width"), [(2, 5), (3, 1)], ids=["speech (N, C, T)", "points (N, C, P)"])
def test_sequences_and_point_clouds(channels, width, over):
    """Shapes, not evidence: convolutions along time, and a shared layer for every point."""
    stem = nn.Sequential(nn.Conv1d(channels, 8, width), nn.BatchNorm1d(8), nn.ReLU())
    model = nn.Sequential(stem, nn.Conv1d(8, 8, 1), nn.AdaptiveMaxPool1d(1), nn.Flatten(), nn.Linear(8, 5))
    mix = MomentExchange(model, after="0", over=over)
    x, y = torch.randn(6, channels, 40), torch.arange(6) % 5
    logits, draw = model(mix(x)), mix.draw
    assert draw is not None
    mix.loss(F.cross_entropy, logits, y).backward()
    mix.remove()
    assert_close(logits, model[1:](exchange_moments(stem(x), draw.permutation, over)))
    assert all(g.isfinite().all() for g in gradients(model))


# When


def test_evaluation_is_untouched_and_draws_nothing():
    model, (x, y) = net(), batch()
    mix = MomentExchange(model, after="pool")
    mix(x)  # a step is drawn, then evaluated before its forward
    model.eval()
    plain = copy.deepcopy(model)
    MomentExchange.of(plain).remove()
    state = torch.get_rng_state()
    assert mix(x) is x
    logits = model(x)
    assert_close(logits, plain(x), rtol=0, atol=0)
    assert_close(mix.loss(F.cross_entropy, logits, y), F.cross_entropy(logits, y), rtol=0, atol=0)
    assert_close(mix.probabilities(y, 5), F.one_hot(y, 5).float())
    assert [weight for weight, _ in mix.terms(y)] == [1.0]
    assert torch.equal(torch.get_rng_state(), state)


def test_a_frozen_layer_in_evaluation_mode_is_still_a_place():
    model, (x, y) = net(), batch()
    mix = MomentExchange(model, after="body.1")
    model.body.eval()
    mix.loss(F.cross_entropy, model(mix(x)), y).backward()


def test_decisions_of_a_batch_follow_the_probability():
    model, (x, _) = net(), batch()
    mix = MomentExchange(model, after="pool", probability=0.25)
    decisions = [mix.sample(x, seeded(seed)).donors is not None for seed in range(2000)]
    assert abs(sum(decisions) / 2000 - 0.25) < 0.03
    for probability, expected in ((0.0, False), (1.0, True)):
        mix.remove()
        mix = MomentExchange(model, after="pool", probability=probability)
        assert {mix.sample(x, seeded(seed)).donors is not None for seed in range(20)} == {expected}


def test_a_step_that_is_not_drawn_keeps_features_and_labels():
    model, (x, y) = net(), batch()
    mix = MomentExchange(model, after="pool", probability=0.0)
    reference = copy.deepcopy(model)
    MomentExchange.of(reference).remove()
    loss = mix.loss(F.cross_entropy, model(mix(x)), y)
    assert_close(loss, F.cross_entropy(reference(x), y), rtol=0, atol=0)


def test_samples_can_decide_by_themselves():
    model, (x, y) = net(), batch(64)
    reference = copy.deepcopy(model)
    mix = MomentExchange(model, after="pool", probability=0.25, weight=0.6, per_sample=True)
    logits = model(mix(x, seeded(3)))
    draw = mix.draw
    assert draw is not None
    assert draw.donors is not None
    assert isinstance(draw.moments, Tensor)
    kept = draw.donors == torch.arange(64)
    assert 0.1 < 1 - kept.double().mean() < 0.5
    assert_close(logits, by_hand(reference, x, draw.donors))
    each = each_loss(logits, y)
    want = torch.where(kept, each, 0.6 * each + 0.4 * each_loss(logits, y[draw.permutation]))
    assert_close(mix.loss(each_loss, logits, y), want)
    soft = mix.probabilities(y, 5)
    assert_close(F.cross_entropy(logits, soft), want.mean())
    with pytest.raises(ValueError, match=r"shape \(\) for 64 samples that each decide.*reduction='none', or train on"):
        mix.loss(F.cross_entropy, logits, y)


def each_loss(logits: Tensor, y: Tensor) -> Tensor:
    return F.cross_entropy(logits, y, reduction="none")


def test_draws_repeat_with_their_generator_and_change_nothing():
    model, (x, _) = net(), batch(32)
    mix = MomentExchange(model, after="pool", probability=0.5)
    first, again, other = (mix.sample(x, seeded(seed)) for seed in (1, 1, 2))
    assert torch.equal(first.permutation, again.permutation)
    assert not torch.equal(first.permutation, other.permutation)
    assert mix.draw is None
    torch.manual_seed(5)
    by_default = mix.sample(x)
    torch.manual_seed(5)
    assert torch.equal(mix.sample(x).permutation, by_default.permutation)


# Branches


SPECS = {
    "interleaved": (("weak", "strong"), torch.arange(12) % 2),
    "blocks": (({"strong": 4, "weak": 8},), torch.tensor([1] * 4 + [0] * 8)),
    "labels": (
        (torch.tensor([0, 1, 1, 0, 1, 1, 0, 0, 1, 1, 0, 1]),),
        torch.tensor([0, 1, 1, 0, 1, 1, 0, 0, 1, 1, 0, 1]),
    ),
    "whole": (("strong",), torch.ones(12, dtype=torch.int64)),
}


@pytest.mark.parametrize("kind", SPECS)
def test_branches_exchange_within_themselves(kind):
    model, (x, y) = net(), batch(12)
    renorm.split_(model, ["weak", "strong"])
    spec, branch = SPECS[kind]
    mix = MomentExchange(model, after="pool")
    moved = torch.zeros(12, dtype=torch.bool)
    for seed in range(10):
        with renorm.route(model, *spec):
            logits = model(mix(x, seeded(seed)))
        assert mix.draw is not None
        pi = mix.draw.permutation
        assert torch.equal(branch[pi], branch)
        assert torch.equal(pi.sort().values, torch.arange(12))
        moved |= pi != torch.arange(12)
        mix.loss(F.cross_entropy, logits, y).backward()
    assert moved.all()


def test_branches_exchange_among_each_other_when_asked():
    model, (x, y) = net(), batch(12)
    renorm.split_(model, ["weak", "strong"])
    mix = MomentExchange(model, after="pool", across_branches=True)
    crossed = False
    for seed in range(5):
        draw = mix.sample(x, seeded(seed))
        crossed |= bool((draw.permutation % 2 != torch.arange(12) % 2).any())
    assert crossed
    with renorm.route(model, "weak", "strong"):
        mix.loss(F.cross_entropy, model(mix(x)), y)


def test_a_lasting_route_counts_and_a_missing_or_other_one_is_an_error():
    model, (x, _) = net(), batch(12)
    mix = MomentExchange(model, after="pool")
    renorm.split_(model, ["weak", "strong"])  # also after the exchange was made
    with pytest.raises(
        RuntimeError, match=r"without a route.*\['weak', 'strong'\].*with renorm.route.*across_branches=True"
    ):
        mix(x)
    with renorm.route(model, "weak", "strong"):
        mix(x)
    with (
        renorm.route(model, {"weak": 6, "strong": 6}),
        pytest.raises(RuntimeError, match=r"another route than the one its step was drawn under.*under the route"),
    ):
        model(x)
    with (
        renorm.route(model, {"weak": 6, "strong": 7}),
        pytest.raises(ValueError, match="12 samples was given under a route that divides 13"),
    ):
        mix(x)
    renorm.route_(model, train=("weak", "strong"))
    assert torch.equal(mix.sample(x).permutation % 2, torch.arange(12) % 2)
    model(mix(x))
    mix.remove()
    assert not list(switches_of(model))


# Batches in other forms


class Clips(nn.Module):
    """A network of clips ``(N, T, C, H, W)`` whose layer sees frames, clip by clip or time by time."""

    def __init__(self, folded: str) -> None:
        super().__init__()
        self.frame, self.by_time = nn.Conv2d(3, 6, 3), folded != "sample"

    def forward(self, clips: Tensor) -> Tensor:
        clips = clips.transpose(0, 1) if self.by_time else clips
        frames = self.frame(clips.flatten(0, 1)).unflatten(0, clips.shape[:2])
        return frames.transpose(0, 1) if self.by_time else frames


@pytest.mark.parametrize("folded", ["sample", "time", "copies"])
def test_frames_get_the_moments_of_their_donors_frames(folded):
    model, clips = Clips(folded), torch.randn(4, 5, 3, 6, 6)
    mix = MomentExchange(model, after="frame", folded=folded)
    y = model(mix(clips))
    assert mix.draw is not None
    pi = mix.draw.permutation
    mix.remove()
    plain = model(clips)
    for t in range(5):
        assert_close(y[:, t], exchange_moments(plain[:, t], pi))


def test_the_order_of_frames_is_never_guessed():
    model, clips = Clips("sample"), torch.randn(4, 5, 3, 6, 6)
    mix = MomentExchange(model, after="frame")
    with pytest.raises(ValueError, match=r"after 'frame': 20 rows arrive.*batch of 4.*Which 5 belong.*folded='sample'"):
        model(mix(clips))
    with pytest.raises(ValueError, match=r"folded='frames' was given"):
        MomentExchange(Clips("sample"), after="frame", folded="frames")


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_under_autocast(dtype):
    model, (x, y) = net(), batch()
    mix = MomentExchange(model, after="pool")
    seen = []
    model.body.register_forward_pre_hook(lambda _, args: seen.append(args[0].dtype))
    with torch.autocast("cpu", dtype=dtype):
        logits = model(mix(x))
    mix.loss(F.cross_entropy, logits.float(), y).backward()
    assert seen == [dtype]
    assert all(g.isfinite().all() for g in gradients(model))


def test_channels_last_stays():
    model, (x, _) = net().to(memory_format=torch.channels_last), batch()
    mix = MomentExchange(model, after="pool")
    seen = []
    model.body.register_forward_pre_hook(lambda _, args: seen.append(args[0]))
    model(mix(x.contiguous(memory_format=torch.channels_last)))
    assert seen[0].is_contiguous(memory_format=torch.channels_last)


# Copies


def test_copies_and_pickles_have_a_dormant_exchange_of_their_own():
    model, (x, y) = net(), batch()
    mix = MomentExchange(model, after="pool", weight=0.8, probability=0.7)
    mix(x)
    buffer = io.BytesIO()
    torch.save(model, buffer)
    buffer.seek(0)
    pair: Any = copy.deepcopy((model, mix))
    for twin in (copy.deepcopy(model), pickle.loads(pickle.dumps(model)), torch.load(buffer, weights_only=False)):
        reference = copy.deepcopy(twin)
        MomentExchange.of(reference).remove()
        assert_close(twin(x), reference(x), rtol=0, atol=0)  # dormant, though a step of the original is drawn
        own = MomentExchange.of(twin)
        assert own.settings == mix.settings
        assert own.model is twin
        own.use(mix.draw)
        assert_close(own.loss(F.cross_entropy, twin(x), y).shape, torch.Size([]))
    assert pair[1].model is pair[0]
    assert pair[1].loss(F.cross_entropy, pair[0](pair[1](x)), y).isfinite()


def test_a_copied_layer_does_not_take_the_model_along():
    model = net()
    MomentExchange(model, after="body.1")
    (layer,) = [copy.deepcopy(model.body[1])]
    switch = next(iter(layer._forward_hooks.values())).__self__  # pyright: ignore[reportFunctionMemberAccess]
    assert not any(isinstance(value, nn.Module) for value in vars(switch).values())


def test_removal_leaves_no_trace():
    model, (x, y) = net(), batch()
    handle = model.pool.register_forward_hook(lambda *_: None)

    def traces(model: nn.Module) -> list[Any]:
        return [
            (key, [*value] if isinstance(value, dict) else id(value))
            for module in model.modules()
            for key, value in vars(module).items()
        ]

    before = traces(model)
    keys = list(model.state_dict())
    mix = MomentExchange(model, after="pool")
    assert list(model.state_dict()) == keys
    mix.loss(F.cross_entropy, model(mix(x)), y).backward()
    mix.remove()
    mix.remove()
    assert traces(model) == before
    assert list(model.pool._forward_hooks) == [handle.id]
    with pytest.raises(RuntimeError, match=r"exchange after 'pool' was removed.*Make another"):
        mix(x)
    with pytest.raises(ValueError, match=r"Net has no exchange.*MomentExchange"):
        MomentExchange.of(model)


def test_nothing_outlives_a_step():
    model, (x, y) = net(checkpointed=True), batch()
    mix = MomentExchange(model, after="body.0")
    for seed in range(KEPT + 2):
        mix.loss(F.cross_entropy, model(mix(x, seeded(seed))), y).backward()
    gc.collect()
    assert len(mix._switch._forwards._spans) <= KEPT


# Compiled, checkpointed, parallel


class Counting:
    """The aot_eager backend, counting the graphs it is given."""

    def __init__(self) -> None:
        self.graphs = 0

    def __call__(self, graph: Any, inputs: Any) -> Any:
        self.graphs += 1
        return lookup_backend("aot_eager")(graph, inputs)


@pytest.mark.parametrize(("where", "checkpointed"), [({"after": "pool"}, False), ({"before": "body"}, True)], ids=str)
def test_compiled_is_two_graphs_without_a_break_and_equals_eager(where, checkpointed):
    torch._dynamo.reset()
    model = net(checkpointed=checkpointed)
    mix, backend = MomentExchange(model, probability=0.5, **where), Counting()
    eager = copy.deepcopy(model)
    own = MomentExchange.of(eager)
    compiled, decisions = torch.compile(model, backend=backend, fullgraph=True), []
    for seed in range(5):
        x, y = batch(seed=seed)
        draw = mix.sample(x, seeded(seed))
        for each in (mix, own):
            each.use(draw)
        loss, want = mix.loss(F.cross_entropy, compiled(x), y), own.loss(F.cross_entropy, eager(x), y)
        loss.backward()
        want.backward()
        assert_close(loss, want, rtol=1e-4, atol=1e-5)
        decisions.append(draw.donors is not None)
    assert set(decisions) == {True, False}
    assert backend.graphs == 2
    assert_close(gradients(model), gradients(eager), rtol=1e-3, atol=1e-4)
    if not checkpointed:  # in eager mode PyTorch's norms count a recomputed forward again
        assert_close(model.state_dict(), eager.state_dict(), rtol=1e-4, atol=1e-5)


@pytest.mark.slow
def test_inductor():
    from torch._inductor.cpp_builder import get_cpp_compiler

    try:
        get_cpp_compiler()
    except Exception as error:
        pytest.skip(f"inductor needs a C++ compiler: {error}")
    torch._dynamo.reset()
    model = net()
    renorm.split_(model, ["weak", "strong"])
    mix = MomentExchange(model, after="pool", probability=0.5)
    eager = copy.deepcopy(model)
    own, compiled, decisions = MomentExchange.of(eager), torch.compile(model, fullgraph=True), set()
    for seed in range(4):
        x, y = batch(seed=seed)
        with renorm.route(model, "weak", "strong"), renorm.route(eager, "weak", "strong"):
            mix.use(mix.sample(x, seeded(seed)))
            own.use(own.sample(x, seeded(seed)))
            loss, want = mix.loss(F.cross_entropy, compiled(x), y), own.loss(F.cross_entropy, eager(x), y)
        loss.backward()
        want.backward()
        assert_close(loss, want, rtol=1e-4, atol=1e-5)
        decisions.add(mix.draw is not None and mix.draw.donors is not None)
    assert decisions == {True, False}
    assert_close(gradients(model), gradients(eager), rtol=1e-3, atol=1e-4)
    assert_close(model.state_dict(), eager.state_dict(), rtol=1e-4, atol=1e-5)


def test_a_compiled_model_is_refused():
    model = net()
    with pytest.raises(ValueError, match=r"compiled model was given.*Make the exchange first"):
        MomentExchange(torch.compile(model, backend="eager"), after="pool")  # pyright: ignore[reportArgumentType]
    model.compile(backend="eager")
    with pytest.raises(ValueError, match=r"compiled model was given"):
        MomentExchange(model, after="pool")


@pytest.mark.parametrize("position", ["body", "body.0", "body.1"])
def test_a_checkpointed_layer_is_recomputed_with_its_own_draw(position):
    model = net(checkpointed=True)
    reference = net()
    mix = MomentExchange(model, after=position, probability=0.6)
    own = MomentExchange(reference, after=position, probability=0.6)
    for seed in range(6):
        x, y = batch(seed=seed)
        loss = mix.loss(F.cross_entropy, model(mix(x, seeded(seed))), y)
        model.eval()
        model(x)  # another forward before backward
        model.train()
        loss.backward()
        own.loss(F.cross_entropy, reference(own(x, seeded(seed))), y).backward()
        assert_close(gradients(model), gradients(reference), rtol=1e-4, atol=1e-5)
        with renorm.frozen_statistics(model), renorm.frozen_statistics(reference):  # a step that nobody drew
            model(x).sum().backward()
            reference(x).sum().backward()
        assert_close(gradients(model), gradients(reference), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("reentrant", [False, True])
def test_forwards_of_several_draws_are_recomputed_each_with_its_own(reentrant):
    model, reference = net(checkpointed=True, reentrant=reentrant), net()
    mix, own = MomentExchange(model, after="body.0"), MomentExchange(reference, after="body.0")
    for exchange, each in ((mix, model), (own, reference)):
        losses = []
        for seed in range(3):
            x, y = batch(seed=seed)
            losses.append(exchange.loss(F.cross_entropy, each(exchange(x.requires_grad_(), seeded(seed))), y))
        torch.stack(losses).sum().backward()
    assert_close(gradients(model), gradients(reference), rtol=1e-4, atol=1e-5)


# Errors of a loop


def test_mistakes_of_a_loop():
    model, (x, y) = net(), batch()
    mix = MomentExchange(model, after="pool")
    with pytest.raises(RuntimeError, match=r"no step was drawn.*Call x = mix\(x\)"):
        mix.loss(F.cross_entropy, model(x), y)
    mix(x)
    with pytest.raises(RuntimeError, match=r"did not exchange moments after 'pool'.*Call this very model"):
        mix.loss(F.cross_entropy, net()(x), y)
    mix(x)
    with pytest.raises(ValueError, match=r"after 'pool': 4 samples arrive there.*drawn for 6.*batch of the forward"):
        model(x[:4])
    logits = model(mix(x))
    with pytest.raises(ValueError, match=r"targets of shape \(4,\).*6 samples.*whole batch"):
        mix.loss(F.cross_entropy, logits, y[:4])
    with pytest.raises(ValueError, match=r"targets of type list were given.*6 samples"):
        mix.loss(F.cross_entropy, logits, y.tolist())  # pyright: ignore[reportArgumentType]
    with pytest.raises(TypeError, match=r"batch of type dict was given.*Pass the tensor of inputs"):
        mix({"x": x})  # pyright: ignore[reportArgumentType]


def test_a_second_forward_of_a_step_uses_its_draw_again():
    model, (x, y) = net(), batch()
    mix = MomentExchange(model, after="pool")
    first = mix.loss(F.cross_entropy, model(mix(x)), y)
    unmixed = model(x)
    with pytest.raises(RuntimeError, match=r"for a second forward and loss of a step call mix.use\(mix.draw\)"):
        mix.loss(F.cross_entropy, unmixed, y)
    mix.use(mix.draw)
    assert_close(mix.loss(F.cross_entropy, model(x), y), first)
    assert mix.loss(F.cross_entropy, unmixed, y).isfinite()  # another head of the same forward


def test_statistics_are_measured_without_the_exchange():
    model, (x, _) = net(), batch()
    plain = copy.deepcopy(model)
    mix = MomentExchange(model, after="pool")
    mix(x)  # a step is drawn, and measured before its forward
    assert renorm.measure(model, [x]).distance(renorm.measure(plain, [x])) == {"body.1": 0}


def test_a_layer_that_is_called_twice():
    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.act = nn.ReLU()

        def forward(self, x: Tensor) -> Tensor:
            return self.act(self.act(x))

    model = Twice()
    mix = MomentExchange(model, after="act")
    with pytest.raises(RuntimeError, match=r"after 'act': the layer is called more than once.*called once"):
        model(mix(torch.randn(2, 3, 4)))


def test_a_layer_that_passes_no_tensor():
    model = nn.Sequential(nn.LSTM(3, 4, batch_first=True))
    mix = MomentExchange(model, after="0")
    with pytest.raises(TypeError, match=r"after '0': the layer passes a tuple.*needs a tensor.*Choose a layer"):
        model(mix(torch.randn(2, 5, 3)))


def test_parts_that_do_not_fit_the_layer_name_it():
    model = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Conv2d(3, 3, 1))
    mix = MomentExchange(model, after="0", over="in")
    with pytest.raises(ValueError, match=r"exchange after '0': over='in' over a tensor of shape \(2, 3, 1, 1\)"):
        model(mix(torch.randn(2, 3, 4, 4)))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"after": "pol"}, "'pol' is not a layer of Net.*Did you mean 'pool'?"),
        ({"before": "zzz"}, r"'zzz' is not a layer.*outermost layers are \['stem', 'pool', 'body', 'head'\]"),
        ({"after": ""}, "'' is not a layer"),
        ({}, "after=None and before=None were given.*Name one layer"),
        ({"after": "pool", "before": "body"}, "An exchange has one position"),
        ({"after": "pool", "over": "bn"}, "over='bn' was given"),
        ({"after": "pool", "over": "gn"}, "It needs one of both"),
        ({"after": "pool", "weight": 1.5}, "weight=1.5 was given.*from 0 to 1"),
        ({"after": "pool", "probability": -1}, "probability=-1 was given"),
    ],
    ids=str,
)
def test_what_is_refused(arguments, message):
    model = net()
    with pytest.raises(ValueError, match=message):
        MomentExchange(model, **arguments)
    assert not list(switches_of(model))


def test_a_second_exchange_and_threads_are_refused():
    model = net()
    mix = MomentExchange(model, after="pool")
    with pytest.raises(ValueError, match=r"has an exchange after 'pool' already.*of\(model\).remove\(\)"):
        MomentExchange(model, after="body")
    mix.remove()
    with pytest.raises(ValueError, match=r"DataParallel was given.*Use DistributedDataParallel"):
        MomentExchange(nn.DataParallel(model), after="pool")


def test_it_says_what_it_does():
    mix = MomentExchange(net(), after="pool", over="gn", groups=2)
    assert repr(mix).startswith("MomentExchange(after='pool', over='gn', groups=2, weight=0.9, probability=1.0")
