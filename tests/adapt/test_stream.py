"""A stream: exact against a slow oracle, equal to evaluation afterwards, and the source bit for bit when it is closed."""

import copy
import gc
import threading
from collections.abc import Sequence
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.testing import assert_close

import renorm
from renorm.adapt import step
from renorm.adapt.memory import Memory, SiteRecord, record_of, weights_of
from renorm.adapt.state import Distance
from renorm.adapt.step import ADAPTED, CLASSES, Source, alikeness
from renorm.adapt.stream import Adapter
from renorm.functional import Moments
from tests.banks.models import Unknown, randomize, small, unchanged

FORMATS = [torch.contiguous_format, torch.channels_last]


def images(size: int = 6, *space: int, seed: int = 4) -> Tensor:
    return torch.randn((size, 3, *(space or (4, 4))), generator=torch.Generator().manual_seed(seed)) + 1


def changed(x: Tensor) -> Tensor:
    """The same images with noise and little contrast."""
    return 0.3 * x + 0.5 * torch.randn(x.shape, generator=torch.Generator().manual_seed(9))


class Oracle:
    """A plain model in float64 that keeps every feature ever seen, and weighs all of them at every batch."""

    def __init__(self, model: Any, decay: float) -> None:
        self.model, self.decay = model.double().eval(), decay
        self.source = {k: v.clone() for k, v in model.state_dict().items()}
        self.seen: dict[str, list[Tensor]] = {}

    @torch.no_grad()
    def batch(self, x: Tensor, s: float) -> Tensor:
        x = x.double()
        for name, module in self.model.named_children():
            if hasattr(module, "running_mean"):
                kept = self.seen.setdefault(name, [])
                kept += list(x)
                self._blend(name, module, kept, s)
            x = module(x)
        return x

    def _blend(self, name: str, module: Any, kept: list[Tensor], s: float) -> None:
        w = torch.tensor([self.decay ** (len(kept) - 1 - i) for i in range(len(kept))], dtype=torch.float64)
        values = torch.stack(kept, 1).flatten(2)  # C, N, P
        each = (w / (w.sum() * values.shape[2]))[:, None]
        mean = (values * each).sum((1, 2))
        var = ((values - mean[:, None, None]) ** 2 * each).sum((1, 2))
        m = float(w.sum() ** 2 / (w**2).sum()) * values.shape[2]
        module.running_mean.copy_(s * self.source[f"{name}.running_mean"] + (1 - s) * mean)
        module.running_var.copy_(s * self.source[f"{name}.running_var"] + (1 - s) * var * m / (m - 1))


@pytest.mark.parametrize("memory_format", FORMATS)
@pytest.mark.parametrize(("memory", "prior"), [(float("inf"), 0), (float("inf"), 9), (8, 0), (8, 9)])
def test_every_batch_against_an_oracle_that_keeps_all_features(memory: float, prior: float, memory_format: Any):
    model, decay = small().train().to(memory_format=memory_format), 1.0 if memory > 8 else 7 / 9
    oracle = Oracle(small(), decay)
    adapter = Adapter(model, prior, memory=memory, false_alarms=0)
    for i, size in enumerate([5, 1, 7, 16, 3]):
        x = images(size, seed=i)
        output = adapter(x.contiguous(memory_format=memory_format))
        assert_close(output.double(), oracle.batch(x, adapter.source_weight), rtol=1e-4, atol=1e-5)
        assert_close(output, model.eval()(x), rtol=1e-5, atol=1e-6)
        assert not output.requires_grad
    assert adapter.num_images == 32
    for name in ("1", "5"):
        expected = oracle.model.get_submodule(name)
        assert_close(model.get_submodule(name).running_var.double(), expected.running_var, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("prior", [0, 4, 64, "auto"])
def test_the_first_batch_is_adapted_to_as_by_adapt(prior: Any):
    model, other, x = small(), small(), images(12)
    adapter = renorm.Adapter(model, prior, memory=float("inf"))
    output, report = adapter(x), renorm.adapt_(other, x, prior)
    assert_close(adapter.source_weight, report.source_weight, rtol=1e-5, atol=0)
    assert_close(output, report.output)
    for name, value in other.state_dict().items():
        assert_close(model.state_dict()[name], value)


@pytest.mark.parametrize("sizes", [[24], [1] * 24, [5, 19], [16, 8]])
def test_the_first_site_does_not_depend_on_batching(sizes: list[int]):
    model, x = small(), images(24)
    whole = small()
    Adapter(whole, 0, memory=20, false_alarms=0)(x)
    adapter = Adapter(model, 0, memory=20, false_alarms=0)
    for part in x.split(sizes):
        adapter(part)
    assert_close(model[1].running_mean, whole[1].running_mean)
    assert_close(model[1].running_var, whole[1].running_var)


def test_the_weight_of_the_source_falls_with_effective_images():
    adapter, weights = Adapter(small(), 10, memory=30, false_alarms=0), []
    for i in range(40):
        adapter(images(8, seed=i))
        weights.append(adapter.source_weight)
        assert adapter.source_weight >= 10 / (10 + 30)
    each = [(29 / 31) ** i for i in range(8)]
    assert_close(weights[0], 10 / (10 + sum(each) ** 2 / sum(w * w for w in each)))
    assert weights[-1] < 0.35
    assert 20 < adapter.effective_images <= 30


@pytest.mark.parametrize("norm", [nn.BatchNorm2d, Unknown])
@pytest.mark.parametrize("split", [False, True])
def test_an_infinite_prior_is_the_source_bit_for_bit(norm: Any, split: bool):
    model = small(norm).eval()
    if split:
        renorm.split_(model, ["weak", "strong"])
    with unchanged(model):
        adapter = Adapter(model, float("inf"), "weak" if split else None)
        for i in range(3):
            before = model(images(seed=i))
            assert_close(adapter(images(seed=i)), before, rtol=0, atol=0)
        assert adapter.abstaining


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("norm", [nn.BatchNorm2d, Unknown])
def test_closing_gives_the_source_back_bit_for_bit_and_dropout_stays_off(norm: Any, training: bool):
    model = small(norm, dropout=0.9).train(training)
    with unchanged(model):
        with Adapter(model, 4) as adapter:
            first = adapter(images())
        adapter.close()
        with Adapter(model, 4) as other:
            assert_close(other(images()), first, rtol=0, atol=0)
        with pytest.raises(TypeError, match="type str"), Adapter(model, 4) as third:
            [third(x) for x in (images(), "picture.png")]
    for call in (lambda: adapter(images()), adapter.reset, lambda: adapter.save("never")):
        with pytest.raises(RuntimeError, match=r"the adapter is closed, .* needs an open one\. Start a new one"):
            call()
    assert repr(adapter) == "adapter, closed after 6 images"


@pytest.mark.parametrize("kind", [ValueError, KeyboardInterrupt])
@pytest.mark.parametrize("prior", [4, "auto"])
def test_an_interruption_leaves_the_model_and_the_memory_as_before_the_batch(kind: type[BaseException], prior: Any):
    model, twin = small(), small()
    adapter, other = Adapter(model, prior), Adapter(twin, prior)
    for each in (adapter, other):
        each(images())

    def stop(*_: Any) -> None:
        raise kind("stop")

    handle = model[4].register_forward_hook(stop)
    with unchanged(model), pytest.raises(kind, match="stop"):
        adapter(images(seed=5))
    handle.remove()
    assert_close(adapter(images(7, seed=6)), other(images(7, seed=6)), rtol=0, atol=0)
    assert adapter.num_images == 13


BROKEN = {
    "NaN": (images() * torch.nan, None, "features at site '1' hold NaN or infinity.*Check the camera"),
    "infinity": (images() + torch.inf, None, "features at site '1' hold NaN or infinity.*invalid='skip'"),
    "one pixel": (images().index_fill(0, torch.tensor(2), torch.nan), None, "'1' hold NaN or infinity.*Nothing was"),
    "overflow": (images(), torch.nan, "features at site '5' hold NaN or infinity"),
    "none": (images(0), None, r"no image was given\. A stream is made of .*invalid='skip'"),
}


@pytest.mark.parametrize("case", BROKEN)
@pytest.mark.parametrize("prior", [4, "auto"])
def test_broken_batches_are_refused_or_skipped_and_change_nothing(case: str, prior: Any):
    x, value, message = BROKEN[case]
    model, twin = small(), small()
    adapter, other = Adapter(model, prior), Adapter(twin, prior, invalid="skip")
    for each in (adapter, other):
        each(images(seed=1))
    with pytest.MonkeyPatch.context() as patch:
        if value is not None:
            for net in (model, twin):
                patch.setattr(net[4], "forward", lambda x, old=net[4].forward: old(x) + value)
        with unchanged(model), pytest.raises(ValueError, match=message):
            adapter(x)
        with unchanged(twin):
            output = other(x)
        with torch.no_grad():
            assert_close(output, twin.eval()(x), rtol=0, atol=0, equal_nan=True)
    assert [event.what for event in other.events] == ["skipped"]
    assert adapter.events == ()
    assert (adapter.num_images, other.num_images) == (6, 6)
    assert_close(adapter(images(seed=2)), other(images(seed=2)), rtol=0, atol=0)


def test_what_cannot_be_adapted_is_refused_and_changes_nothing():
    with pytest.raises(ValueError, match=r"Sequential has no running statistics; its norms are none\."):
        Adapter(nn.Sequential(nn.Conv2d(3, 3, 1)))
    with pytest.raises(TypeError, match=r"type str without tensors was given"):
        Adapter(small())("picture.png")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"prior": -1}, r"prior=-1 was given\. It is a number of images, 0 or more"),
        ({"prior": "best"}, r"prior='best' was given\. It is 'auto' or a number of images\. Use one of these"),
        ({"memory": 1}, r"memory=1 was given\. It is a number of images, 2 or more\. Use 256"),
        ({"memory": float("nan")}, r"memory=nan was given"),
        ({"block": 3}, r"block=3 was given\. It is a number of images, 4 or more\. Use 16"),
        (
            {"false_alarms": 1.0},
            r"false_alarms=1\.0 was given\. It is a probability below 1\. Use 1e-3, or 0 for no test",
        ),
        ({"smallest": -0.1}, r"smallest=-0\.1 was given\. It is a size"),
        ({"on_change": "stop"}, r"on_change='stop' was given\. It is 'reset' or 'source'\."),
        ({"invalid": "ignore"}, r"invalid='ignore' was given\. It is 'raise' or 'skip'\."),
    ],
)
def test_wrong_options(options: Any, message: str):
    model = small()
    with pytest.raises(ValueError, match=message):
        Adapter(model, **options)
    Adapter(model)  # a refused one holds nothing


@pytest.mark.parametrize("size", [1, 4, 20])
def test_a_change_is_found_and_the_memory_starts_anew(size: int):
    model, x = small(), images(60)
    adapter = Adapter(model, 0, memory=float("inf"))
    for part in x.split(size):
        adapter(part)
    assert adapter.num_resets == 0
    assert adapter.change is not None
    assert adapter.change.probability > 1e-3
    other = changed(images(60, seed=5))
    for part in other.split(size):
        adapter(part)
    first = adapter.events[0]
    assert first.what == "changed"
    assert 60 < first.image <= 60 + 2 * max(size, 16)
    assert first.size is not None
    assert first.probability is not None
    assert first.size > 0.2
    assert first.probability < 1e-3
    if size == 20:
        features = model[0](other).detach()
        assert_close(model[1].running_mean, features.mean((0, 2, 3)), rtol=1e-5, atol=1e-6)
        assert adapter.num_resets == 1


def test_without_the_test_the_memory_goes_on():
    adapter = Adapter(small(), false_alarms=0)
    for x in (images(40), changed(images(40))):
        adapter(x)
    assert (adapter.num_resets, adapter.events) == (0, ())


def test_going_back_to_the_source_until_a_reset():
    model = small().eval()
    source = model(changed(images(40, seed=6))).detach()
    adapter = Adapter(model, 4, on_change="source")
    adapter(images(40))
    for _ in range(2):
        assert_close(adapter(changed(images(40, seed=6))), source, rtol=0, atol=0)
        assert adapter.abstaining
    assert [event.what for event in adapter.events] == ["changed", "abstained"]
    adapter.reset()
    adapter(changed(images(40, seed=6)))
    assert not adapter.abstaining
    assert [event.what for event in adapter.events][2:] == ["reset", "resumed"]
    assert adapter.num_resets == 2


def constant(labels: Sequence[int], seed: int) -> Tensor:
    """Images whose label :class:`Told` reads off a pixel."""
    x = images(len(labels), seed=seed)
    x[:, 0, 0, 0] = torch.tensor(labels, dtype=x.dtype)
    return x


class Told(nn.Module):
    """A model that knows the class of an image."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(3)

    def forward(self, x: Tensor) -> Tensor:
        self.norm(x)
        return nn.functional.one_hot(x[:, 0, 0, 0].long(), 4).float()


def test_images_of_one_class_count_for_few():
    shuffled, single = Adapter(Told(), 64, false_alarms=0), Adapter(Told(), 64, false_alarms=0)
    for i in range(6):
        shuffled(constant([0, 1, 2, 3] * 8, i))
        single(constant([2] * 32, i))
    assert shuffled.effective_images > 80
    assert single.effective_images == 16
    assert single.source_weight == 64 / 80
    assert shuffled.source_weight < 0.45


def gathered(taken: Tensor) -> bool:
    """Whether images that were taken for these of ten classes count as alike."""
    source = {"bn": Source(torch.zeros(1), torch.ones(1), 1e-5)}

    def record(values: Tensor) -> SiteRecord:
        return record_of(Moments(values, torch.zeros_like(values), 1), 1.0)

    records = {ADAPTED + "bn": record(torch.zeros(len(taken), 1)), CLASSES: record(torch.eye(10)[taken])}
    return alikeness(Memory(weights_of(len(taken), 1.0), None, records), source) > 0


def test_classes_of_a_shuffled_stream_gather_by_chance_only(monkeypatch: pytest.MonkeyPatch):
    draws = torch.randint(10, (200, 64), generator=torch.Generator().manual_seed(0))
    assert sum(map(gathered, draws)) <= 4
    assert all(map(gathered, draws.sort(1).values[:, :16])), "sorted"
    monkeypatch.setattr(step, "ALIKE", 0.0)
    assert sum(map(gathered, draws)) > 60, "the naive rule must be caught by this test"


def test_blocks_that_differ_count_for_few():
    alike, apart = Adapter(small(), 64, false_alarms=0), Adapter(small(), 64, false_alarms=0)
    for i in range(8):
        alike(images(20, seed=i))
        apart(images(20, seed=i) + 0.6 * torch.randn(3, 1, 1, generator=torch.Generator().manual_seed(i)))
    assert alike.effective_images > 100
    assert apart.effective_images < 30


def test_distances_are_those_of_banks():
    model, source = small(), renorm.Bank.of(small())
    adapter = Adapter(model, 0, memory=float("inf"))
    assert adapter.distance == {}
    assert adapter.overall == Distance(0.0, float("inf"))
    for i in range(3):
        adapter(images(20, seed=i))
    expected = source.distance(renorm.Bank.of(model))
    assert_close({name: each.value for name, each in adapter.distance.items()}, expected, rtol=1e-4, atol=0)
    assert_close(adapter.overall.value, (sum(v**2 for v in expected.values()) / 2) ** 0.5, rtol=1e-4, atol=0)
    assert not adapter.overall.within_noise


def test_noise_is_the_distance_that_chance_makes():
    model = nn.Sequential(nn.BatchNorm2d(40))
    ratios, within = [], 0
    for seed in range(40):
        adapter = Adapter(model, float("inf"), memory=float("inf"))
        generator = torch.Generator().manual_seed(seed)
        levels = torch.randn(24, 40, 1, 1, generator=generator) * 0.8  # an image's pixels are not independent
        adapter(levels + 0.6 * torch.randn(24, 40, 4, 4, generator=generator))
        ratios.append((adapter.overall.value / adapter.overall.noise) ** 2)
        within += adapter.overall.within_noise
        adapter.close()
    assert 0.8 < sum(ratios) / len(ratios) < 1.2
    assert within == 40


def test_one_image_is_taken_and_its_variance_only_where_there_is_one():
    model = nn.Sequential(nn.BatchNorm1d(3))
    adapter = Adapter(model, 1, false_alarms=0, memory=float("inf"))
    adapter(torch.tensor([[2.0, 4.0, 6.0]]))
    assert_close(model[0].running_mean, torch.tensor([1.0, 2.0, 3.0]))
    assert_close(model[0].running_var, torch.ones(3))
    assert adapter.overall.within_noise
    adapter(torch.tensor([[4.0, 4.0, 0.0]]))
    assert_close(model[0].running_var, torch.tensor([2.0, 0.0, 18.0]) * 2 / 3 + 1 / 3)


def test_one_adapter_at_a_time():
    model = small()
    adapter = Adapter(model)
    adapter(images())
    with pytest.raises(RuntimeError, match=r"has an open adapter already: adapter of 2 sites.*Close that one first"):
        Adapter(model)
    adapter.close()
    Adapter(model).close()


def test_branches_have_adapters_of_their_own_and_shared_statistics_do_not():
    model = small()
    renorm.split_(model, ["weak", "strong"])
    before = renorm.Bank.of(model, "weak")
    with unchanged(model), Adapter(model, 4, "strong") as strong, Adapter(model, 4, "weak") as weak:
        output = strong(images())
        assert before.distance(renorm.Bank.of(model, "weak")) == {"1": 0.0, "5": 0.0}
        weak(images(seed=5))
        with renorm.route(model.eval(), "strong"):
            assert_close(output, model(images()), rtol=0, atol=0)
        model.train()
    shared = small()
    renorm.split_(shared, ["weak", "strong"], share="statistics")
    with Adapter(shared, 4, "weak"), pytest.raises(RuntimeError, match="open adapter"):
        Adapter(shared, 4, "strong")
    with pytest.raises(ValueError, match=r"no branch was given, and the model has \['weak', 'strong'\]"):
        Adapter(model)


def test_statistics_that_somebody_else_changed_are_not_overwritten():
    model = small()
    adapter = Adapter(model)
    adapter(images())
    with torch.no_grad():
        model[5].running_var += 1
    for act in (lambda: adapter(images()), adapter.reset, adapter.close):
        with (
            unchanged(model),
            pytest.raises(RuntimeError, match=r"no longer those that the adapter installed.*Undo it"),
        ):
            act()
    with torch.no_grad():
        model[5].running_var -= 1


def test_what_somebody_else_changed_is_let_go_if_asked():
    model = small()
    source = copy.deepcopy(model.state_dict())
    adapter = Adapter(model, prior=4)
    adapter(images())
    with torch.no_grad():
        model[5].running_var += 1
    adapter.close(discard=True)
    assert all(torch.equal(value, source[key]) for key, value in model.state_dict().items())
    Adapter(model).close()


def test_the_error_of_a_block_is_not_hidden_by_a_refusal_to_close():
    model = small()

    def broken() -> None:
        with Adapter(model, prior=4) as adapter:
            adapter(images())
            model[5].running_var.add_(1)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError) as raised:
        broken()
    assert "no longer those that the adapter installed" in raised.value.__notes__[0]


def test_a_dropped_adapter_is_not_taken_for_the_source():
    model = small()
    source = copy.deepcopy(model.state_dict())
    Adapter(model, prior=4)(images())
    assert any(not torch.equal(value, source[key]) for key, value in model.state_dict().items())
    Adapter(model, prior=4).close()
    assert all(torch.equal(value, source[key]) for key, value in model.state_dict().items())
    Adapter(model, prior=4)(images())
    model[5].running_var.add_(1)  # now it is somebody else's
    changed = copy.deepcopy(model.state_dict())
    Adapter(model, prior=4).close()
    assert all(torch.equal(value, changed[key]) for key, value in model.state_dict().items())


def test_a_second_thread_is_refused_and_the_first_is_not_disturbed():
    model, inside, go = small(), threading.Event(), threading.Event()
    adapter, results = Adapter(model), []

    def forward(net: Any, x: Tensor) -> Tensor:
        inside.set()
        assert go.wait(30)
        return net(x)

    waiting = Adapter(small(), forward=forward)
    thread = threading.Thread(target=lambda: results.append(waiting(images())))
    thread.start()
    assert inside.wait(30)
    with pytest.raises(RuntimeError, match="another thread"):
        waiting(images())
    go.set()
    thread.join()
    assert_close(results[0], adapter(images()), rtol=0, atol=0)


@pytest.mark.parametrize("form", [lambda x: (x, torch.arange(len(x))), lambda x: [x], lambda x: {"input": x}])
def test_images_may_be_a_tensor_a_tuple_or_a_dict(form: Any):
    expected = Adapter(small())(images())
    adapter = Adapter(small())
    assert_close(adapter(form(images())), expected, rtol=0, atol=0)
    assert adapter.num_images == 6


@pytest.mark.parametrize(
    ("norm", "conv", "space"), [(nn.BatchNorm1d, nn.Conv1d, (7,)), (nn.BatchNorm3d, nn.Conv3d, (2, 3, 4))]
)
@pytest.mark.parametrize("split", [False, True])
def test_other_ranks(norm: Any, conv: Any, space: tuple[int, ...], split: bool):
    model, x = small(norm, conv), images(4, *space)
    oracle = Oracle(small(norm, conv), 1.0)
    if split:
        renorm.split_(model, ["only"])
    adapter = Adapter(model, 4, memory=float("inf"))
    for part in (x, x + 1):
        assert_close(adapter(part).double(), oracle.batch(part, adapter.source_weight), rtol=1e-4, atol=1e-5)


class Twice(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(3)

    def forward(self, x: Tensor) -> Tensor:
        return self.norm(self.norm(x) * 2 + 1)


def test_a_norm_that_is_used_twice_pools_both():
    model, x = Twice(), images(8)
    Adapter(model, 0, memory=float("inf"))(x)
    first = nn.functional.batch_norm(x, None, None, training=True) * ((127 / 128) ** 0.5) * 2 + 1
    both = torch.cat([x, first])
    assert_close(model.norm.running_mean, both.mean((0, 2, 3)), rtol=1e-4, atol=1e-5)
    assert_close(model.norm.running_var, both.transpose(0, 1).flatten(1).var(1), rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("split", [False, True])
def test_half_precision_and_autocast(split: bool):
    model = small().bfloat16()
    if split:
        renorm.split_(model, ["weak"])
    x = images().bfloat16()
    adapter = Adapter(model, 4)
    assert_close(adapter(x), model.eval()(x), rtol=0, atol=0)
    mixed = small()
    with torch.autocast("cpu", torch.bfloat16), Adapter(mixed, 4) as adapter:
        assert_close(adapter(images()), mixed.eval()(images()), rtol=0, atol=0)
        assert mixed[1].running_mean.dtype == torch.float32


@pytest.mark.parametrize("memory_format", FORMATS)
def test_fused_norms(memory_format: Any):
    timm = pytest.importorskip("timm")
    model = timm.create_model("efficientnet_b0", num_classes=3).to(memory_format=memory_format)
    randomize(model)
    x = images(2, 32, 32).contiguous(memory_format=memory_format)
    with unchanged(model), Adapter(model, 4) as adapter:
        output = adapter(x)
        assert len(adapter.distance) == 49
        modes = [module.training for module in model.modules()]
        assert_close(output, model.eval()(x), rtol=1e-5, atol=1e-6)
        for module, mode in zip(model.modules(), modes, strict=True):
            module.training = mode


@pytest.mark.parametrize("split", [False, True])
def test_a_compiled_model(split: bool):
    model, x = small(dropout=0.0).eval(), images()
    if split:
        renorm.split_(model, ["weak"])
    compiled: Any = torch.compile(model, backend="aot_eager", fullgraph=True)
    with torch.no_grad():
        before = compiled(x).clone()
        with Adapter(compiled, 4) as adapter:
            output = adapter(x)
            assert_close(compiled(x), output)
            assert (compiled(x) - before).abs().max() > 1e-3
        assert_close(compiled(x), before, rtol=0, atol=0)


def test_inference_mode_and_gradients():
    model = small()
    adapter = Adapter(model, 4)
    with torch.inference_mode():
        adapter(images())
    output = adapter(images(seed=5).requires_grad_())
    assert not output.requires_grad
    model(images()).sum().backward()


def run_long(batches: int) -> None:
    """A stream of single images and small batches: what is held does not grow, and numbers do not drift."""
    model, memory = small(), 40
    adapter, decay = Adapter(model, 8, memory=memory, false_alarms=1e-3), (memory - 1) / (memory + 1)
    generator, kept, held = torch.Generator().manual_seed(1), [], []
    gc.collect()  # what other tests left
    for i in range(batches):
        x = torch.randn(1 + i % 3, 3, 4, 4, generator=generator) + 1000
        adapter(x)
        kept = [*kept, *(row.clone() for row in x)][-1000:]
        if i in (batches // 2, batches - 1):
            gc.collect()
            held.append(sum(issubclass(type(each), Tensor) for each in gc.get_objects()) - len(kept))
    assert held[1] - held[0] <= 2 * 16 + 2  # between full blocks the open one holds records too
    if adapter.num_resets == 0:
        features = small()[0].double()(torch.stack(kept).double()).detach()
        w = decay ** torch.arange(len(kept) - 1, -1, -1, dtype=torch.float64)
        mean = (features.mean((2, 3)) * (w / w.sum())[:, None]).sum(0)
        expected = small()[1].running_mean * adapter.source_weight + mean * (1 - adapter.source_weight)
        assert_close(model[1].running_mean.double(), expected, rtol=1e-6, atol=1e-4)
    assert adapter.num_resets <= batches // 100
    assert len(adapter.events) <= 1000


def test_a_long_stream_neither_grows_nor_drifts():
    run_long(240)


@pytest.mark.slow
def test_ten_thousand_batches_neither_grow_nor_drift():
    run_long(10_000)
