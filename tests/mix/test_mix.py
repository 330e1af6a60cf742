"""CutMix, Mixup and exchange as one mix: against published rules by loops, and as a loop calls them."""

import copy
import random
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.testing import assert_close

import renorm
from renorm import CutMix, Mix, Mixup, MomentExchange
from renorm.functional import exchange_moments
from renorm.mix.draws import Draw


def net() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 6, 3), nn.BatchNorm2d(6), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(6, 5)
    )


def batch(n: int = 6, size: int = 8) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    return torch.randn(n, 3, size, size + 2, generator=generator), torch.arange(n) % 5


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def drawn(mix: Mix) -> Draw:
    assert mix.draw is not None
    return mix.draw


def test_boxes_are_cut_off_at_the_border_and_weighed_as_they_are():
    x = torch.zeros(2, 3, 9, 14)
    weights = []
    for seed in range(300):
        box, pixels = CutMix().sample(x, random.Random(seed))
        assert box is not None
        top, left, bottom, right = box
        assert 0 <= top <= bottom <= 9
        assert 0 <= left <= right <= 14
        inside = sum(top <= row < bottom and left <= column < right for row in range(9) for column in range(14))
        assert abs(pixels - (1 - inside / (9 * 14))) < 1e-12
        weights.append(pixels)
    assert min(weights) < 0.3
    assert max(weights) > 0.9


def test_boxes_have_the_published_sizes():
    """Without cutting off, sides are the square root of the share, rounded down to an even number of pixels."""
    for seed in range(50):
        twin = random.Random(seed)
        twin.random()
        side = int(1000 * (1 - twin.betavariate(1.0, 1.0)) ** 0.5) // 2 * 2
        row, column = twin.randrange(1000), twin.randrange(1000)
        box, _ = CutMix().sample(torch.empty(1, 1, 1000, 1000), random.Random(seed))
        want = (
            max(row - side // 2, 0),
            max(column - side // 2, 0),
            min(row + side // 2, 1000),
            min(column + side // 2, 1000),
        )
        assert box == want


@pytest.mark.parametrize("dtype", [torch.float32, torch.uint8])
@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
def test_pasting_pixel_by_pixel(memory_format, dtype):
    x = torch.randint(0, 255, (4, 3, 6, 5)).to(dtype).contiguous(memory_format=memory_format)
    before, pi = x.clone(), torch.tensor([2, 0, 3, 1])
    y = CutMix().apply(x, Draw(pi, pixels=0.8, box=(1, 2, 4, 5)))
    for n in range(4):
        for row in range(6):
            for column in range(5):
                source = pi[n] if 1 <= row < 4 and 2 <= column < 5 else n
                assert_close(y[n, :, row, column], before[source, :, row, column], rtol=0, atol=0)
    assert_close(x, before, rtol=0, atol=0)
    assert y.stride() == x.stride()


@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
def test_mixup_averages(memory_format):
    x = torch.randn(3, 3, 6, 5).contiguous(memory_format=memory_format)
    pi = torch.tensor([2, 0, 1])
    y = Mixup().apply(x, Draw(pi, pixels=0.7))
    assert_close(y, 0.7 * x + 0.3 * x[pi])
    assert y.stride() == x.stride()
    weights = [Mixup(alpha=1.0).sample(x, random.Random(seed))[1] for seed in range(500)]
    assert abs(sum(weights) / 500 - 0.5) < 0.05
    narrow = [Mixup(alpha=0.2).sample(x, random.Random(seed))[1] for seed in range(500)]
    assert sum(0.1 < w < 0.9 for w in narrow) < sum(0.1 < w < 0.9 for w in weights)


@pytest.mark.parametrize("images", [CutMix(probability=0.3), Mixup(probability=0.3)], ids=str)
def test_images_are_mixed_as_often_as_asked(images):
    x = torch.zeros(2, 3, 8, 8)
    hits = [images.sample(x, random.Random(seed))[1] != 1.0 for seed in range(1000)]
    assert 0.25 < sum(hits) / 1000 < 0.35
    never: Any = type(images)(probability=0.0)
    assert never.sample(x, random.Random(0)) == (None, 1.0)


@pytest.mark.parametrize("images", [CutMix(), Mixup(alpha=1.0)], ids=str)
def test_a_step_is_the_published_one_by_hand(images):
    model, (x, y) = net(), batch()
    reference = copy.deepcopy(model)
    mix = Mix(images, MomentExchange(model, after="2", weight=0.9))
    mixed = mix(x, seeded(3))
    loss = mix.loss(F.cross_entropy, model(mixed), y)
    loss.backward()
    pi, c, m = drawn(mix).permutation, drawn(mix).pixels, 0.9
    assert 0 < c < 1
    assert not torch.equal(mixed, x)
    logits = reference[3:](exchange_moments(reference[:3](images.apply(x, drawn(mix))), pi))
    parts = [F.cross_entropy(logits, labels) for labels in (y, y[pi], y[pi][pi])]
    want = c * m * parts[0] + ((1 - c) * m + c * (1 - m)) * parts[1] + (1 - c) * (1 - m) * parts[2]
    want.backward()
    assert_close(loss, want)
    assert_close([p.grad for p in model.parameters()], [p.grad for p in reference.parameters()])


def test_any_combination_of_decisions_has_its_own_loss():
    model, (x, y) = net(), batch()
    mix = Mix(CutMix(probability=0.5), MomentExchange(model, after="2", weight=0.9, probability=0.5))
    seen = set()
    for seed in range(40):
        logits = model(mix(x, seeded(seed)))
        draw = drawn(mix)
        kind = draw.pixels < 1, draw.donors is not None
        seen.add((*kind, len(mix.terms(y))))
        mix.loss(F.cross_entropy, logits, y)
    assert seen == {(False, False, 1), (True, False, 2), (False, True, 2), (True, True, 3)}


def test_samples_that_decide_by_themselves_mix_images_too():
    model, (x, y) = net(), batch(32)
    mix = Mix(CutMix(), MomentExchange(model, after="2", weight=0.6, probability=0.5, per_sample=True))
    logits = model(mix(x, seeded(1)))
    draw = drawn(mix)
    assert draw.donors is not None
    pi, c = draw.permutation, draw.pixels
    exchanged = draw.donors != torch.arange(32)
    m = torch.where(exchanged, 0.6, 1.0)
    parts = [F.cross_entropy(logits, labels, reduction="none") for labels in (y, y[pi], y[pi][pi])]
    want = c * m * parts[0] + ((1 - c) * m + c * (1 - m)) * parts[1] + (1 - c) * (1 - m) * parts[2]
    assert_close(mix.loss(nn.CrossEntropyLoss(reduction="none"), logits, y), want)


def test_an_exchange_alone_is_the_exchange():
    model, (x, y) = net(), batch()
    exchange = MomentExchange(model, after="2")
    mix = Mix(exchange=exchange)
    assert mix(x, seeded(2)) is x
    with renorm.frozen_statistics(model):
        loss = mix.loss(F.cross_entropy, model(x), y)
        exchange(x, seeded(2))
        assert_close(exchange.loss(F.cross_entropy, model(x), y), loss, rtol=0, atol=0)


def test_evaluation_mixes_nothing():
    model, (x, y) = net().eval(), batch()
    for mix in (Mix(CutMix(), model=model), Mix(CutMix(), MomentExchange(model, after="2"))):
        assert mix(x) is x
        logits = model(x)
        assert_close(mix.loss(F.cross_entropy, logits, y), F.cross_entropy(logits, y), rtol=0, atol=0)


def test_without_a_model_every_call_mixes():
    x, y = batch()
    mix = Mix(CutMix())
    assert not torch.equal(mix(x, seeded(0)), x)
    assert mix.loss(F.cross_entropy, torch.randn(6, 5), y).isfinite()


def test_images_stay_within_their_branch():
    model = net()
    renorm.split_(model, ["weak", "strong"])
    x = torch.zeros(8, 3, 6, 6)
    x[1::2] = 1
    mix = Mix(CutMix(), model=model)
    with pytest.raises(RuntimeError, match="without a route for a model with the branches"):
        mix(x)
    for seed in range(5):
        with renorm.route(model, "weak", "strong"):
            assert_close(mix(x, seeded(seed)), x, rtol=0, atol=0)
    assert any(not torch.equal(Mix(CutMix())(x, seeded(seed)), x) for seed in range(5))


def test_partners_keep_to_the_groups_they_are_given():
    plain, split = net(), net()
    renorm.split_(split, ["weak", "strong"])
    groups, crossed = torch.tensor([0, 1, 1, 2, 0, 2, 2, 1]), False
    for model in (plain, split):
        for mix in (Mix(CutMix(), model=model), MomentExchange(model, after="2")):
            for seed in range(5):
                permutation = mix.sample(torch.zeros(8, 3, 6, 6), seeded(seed), groups).permutation
                assert torch.equal(groups[permutation], groups)
                crossed |= bool((permutation % 2 != torch.arange(8) % 2).any())
    assert crossed  # and not to the branches
    with pytest.raises(ValueError, match=r"groups of shape \(8,\) were given for 6 samples.*Pass a tensor \(6,\)"):
        Mix(CutMix())(torch.zeros(6, 3, 8, 8), groups=groups)


def test_a_loop_with_branches_and_both():
    model, (weak, y) = net(), batch()
    renorm.split_(model, ["weak", "strong"])
    mix = Mix(CutMix(), MomentExchange(model, after="2", over="in", probability=0.5))
    views = {"weak": weak, "strong": weak.flip(3)}
    for layout, targets in ((torch.contiguous_format, y.repeat_interleave(2)), (torch.channels_last, y.repeat(2))):
        for seed in range(4):
            x, spec = renorm.stack(views, layout)
            with renorm.route(model, spec):
                logits = model(mix(x, seeded(seed)))
            mix.loss(F.cross_entropy, logits, targets).backward()
            branch = torch.arange(12) % 2 if layout == torch.contiguous_format else torch.arange(12) // 6
            assert torch.equal(branch[drawn(mix).permutation], branch)


def test_steps_repeat_with_their_generator():
    model, (x, _) = net(), batch()
    mix = Mix(CutMix(), MomentExchange(model, after="2"))
    first, again = mix.sample(x, seeded(4)), mix.sample(x, seeded(4))
    assert torch.equal(first.permutation, again.permutation)
    assert (first.box, first.pixels) == (again.box, again.pixels)


def test_copies_go_together():
    model, (x, y) = net(), batch()
    pair: Any = copy.deepcopy((model, Mix(CutMix(), MomentExchange(model, after="2"))))
    assert pair[1].model is pair[0]
    assert pair[1].loss(F.cross_entropy, pair[0](pair[1](x)), y).isfinite()


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: CutMix(beta=0), r"beta=0 was given.*above 0"),
        (lambda: Mixup(alpha=-1), r"alpha=-1 was given.*above 0"),
        (lambda: CutMix(probability=2), r"probability=2 was given.*from 0 to 1"),
        (lambda: Mix(), r"neither images= nor exchange=.*renorm.CutMix\(\)"),
        (lambda: Mix(exchange=MomentExchange(net(), after="2"), model=net()), r"The exchange knows its model.*out"),
        (lambda: CutMix().sample(torch.zeros(2, 3, 8), random.Random(0)), r"shape \(2, 3, 8\).*Use Mixup"),
    ],
)
def test_what_is_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_mixup_of_integers_and_a_loss_before_a_step():
    with pytest.raises(TypeError, match=r"torch.uint8 was given.*Convert them first"):
        Mix(Mixup())(torch.zeros(2, 3, 4, 4, dtype=torch.uint8))
    with pytest.raises(RuntimeError, match=r"no step was drawn.*Call x = mix\(x\)"):
        Mix(Mixup()).loss(F.cross_entropy, torch.zeros(2, 3), torch.tensor([0, 1]))


def test_it_says_what_it_does():
    mix = Mix(CutMix(), MomentExchange(net(), after="2"))
    assert repr(mix).startswith("Mix(CutMix(beta=1.0, probability=1.0), MomentExchange(after='2'")
