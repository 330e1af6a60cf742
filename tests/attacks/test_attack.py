"""What an attack computes: published numbers, a slow loop, and laws of the ball."""

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.testing import assert_close

from renorm.attacks import Attack, Ball, fgsm, pgd
from renorm.attacks.ball import in_ball, lengths, project
from tests.oracles import attack as oracle
from tests.oracles.numbers import fill, inp, summary

EPS = 8 / 255
BALLS: list[Ball] = ["linf", "l2"]


def linear() -> nn.Sequential:
    layer = nn.Linear(24, 3)
    with torch.no_grad():
        layer.weight.copy_(fill(layer.weight, 0, 0.5))
        layer.bias.copy_(fill(layer.bias, 0, 0.1))
    return nn.Sequential(nn.Flatten(), layer)


def pictures() -> tuple[Tensor, Tensor]:
    return inp(3, 4, 2, 3, 0).sigmoid(), torch.tensor([0, 1, 2])


def convolutional() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.Tanh(), nn.Flatten(), nn.Linear(8 * 16, 5)).eval()


def batch(n: int = 7) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(1)
    return torch.rand(n, 3, 6, 6, generator=generator), torch.arange(n) % 5


def change(found: Tensor, images: Tensor, ball: Ball) -> Tensor:
    return (found - images).abs().flatten(1).amax(1) if ball == "linf" else lengths(found - images).flatten()


def test_published_numbers():
    model, (x, y) = linear(), pictures()
    found = pgd(model, x, y, eps=EPS, step=2 / 255, steps=7)
    total, weighted, first, last = summary(found)
    expected = [35.817306, 1.895856, 0.591087, 0.350217]
    assert_close([total, weighted, first, last], expected, rtol=0, atol=1e-5)
    losses = [F.cross_entropy(model(each), y).item() for each in (x, found)]
    assert_close(losses, [1.027445, 1.207935], rtol=0, atol=1e-5)
    assert_close((found - x).abs().max().item(), 0.031373, rtol=0, atol=1e-6)


@pytest.mark.parametrize("targeted", [False, True])
@pytest.mark.parametrize(("ball", "eps", "step"), [("linf", EPS, 3 / 255), ("l2", 0.3, 0.11)])
def test_it_is_the_slow_loop(ball: Ball, eps: float, step: float, targeted: bool):
    model, (x, y) = linear().double(), pictures()
    x = x.double()
    found = pgd(model, x, y, eps=eps, step=step, steps=4, ball=ball, targeted=targeted)
    layer: Any = model[1]
    weight, bias = layer.weight.tolist(), layer.bias.tolist()
    for each, image, label in zip(found, x, y.tolist(), strict=True):
        expected = oracle.attack(weight, bias, image.flatten().tolist(), label, eps, step, 4, ball, targeted)
        assert_close(each.flatten(), torch.tensor(expected, dtype=torch.float64), rtol=0, atol=1e-12)


@pytest.mark.parametrize("ball", BALLS)
def test_it_stays_in_the_ball_and_in_the_picture_and_raises_the_loss(ball: Ball):
    model, (x, y) = convolutional(), batch()
    x[0], x[1] = 0.0, 1.0  # on the border of what a picture can be
    eps = EPS if ball == "linf" else 0.4
    found = pgd(model, x, y, eps=eps, steps=5, ball=ball, random=range(7))
    assert bool((change(found, x, ball) <= eps + 1e-6).all())
    assert 0 <= float(found.min()) <= float(found.max()) <= 1
    before, after = (F.cross_entropy(model(each), y, reduction="none") for each in (x, found))
    assert bool((after > before).all())
    nearer = pgd(model, x, (y + 1) % 5, eps=eps, steps=5, ball=ball, targeted=True)
    towards = [F.cross_entropy(model(each), (y + 1) % 5, reduction="none") for each in (x, nearer)]
    assert bool((towards[1] < towards[0]).all())


@pytest.mark.parametrize("ball", BALLS)
@pytest.mark.parametrize("sizes", [[7], [3, 4], [1, 2, 4], [1] * 7])
def test_it_does_not_depend_on_how_images_are_batched(sizes: list[int], ball: Ball):
    model, (x, y) = convolutional().double(), batch()
    x, seeds = x.double(), torch.arange(7)

    def attacked(x: Tensor, y: Tensor, seeds: Tensor) -> Tensor:
        return pgd(model, x, y, eps=0.1, steps=3, ball=ball, random=seeds.tolist())

    parts = [attacked(*each) for each in zip(x.split(sizes), y.split(sizes), seeds.split(sizes), strict=True)]
    assert_close(torch.cat(parts), attacked(x, y, seeds), rtol=0, atol=1e-12)


def test_the_law_of_batching_catches_train_mode():  # the usual mistake must fail it
    model, (x, y) = convolutional().double().train(), batch()
    whole = pgd(model, x.double(), y, eps=0.1, steps=3, mode="train")
    parts = [
        pgd(model, *each, eps=0.1, steps=3, mode="train") for each in zip(x.double().split(3), y.split(3), strict=True)
    ]
    with pytest.raises(AssertionError):
        assert_close(torch.cat(parts), whole, rtol=0, atol=1e-3)


@pytest.mark.parametrize("ball", BALLS)
def test_one_step_to_the_border_is_the_fast_gradient_method(ball: Ball):
    model, (x, y) = convolutional(), batch()
    found = fgsm(model, x, y, eps=0.1, ball=ball)
    assert torch.equal(found, pgd(model, x, y, eps=0.1, step=0.1, steps=1, ball=ball))
    inside = x.clone().requires_grad_()
    F.cross_entropy(model(inside), y).backward()
    assert inside.grad is not None
    way = inside.grad.sign() if ball == "linf" else inside.grad / inside.grad.flatten(1).norm(dim=1).view(-1, 1, 1, 1)
    assert_close(found, (x + 0.1 * way).clamp(0, 1))


@pytest.mark.parametrize("ball", BALLS)
def test_random_starts_fill_the_ball(ball: Ball):
    centre = torch.full((4000, 3, 1, 1), 0.5)
    for random in (range(4000), torch.Generator().manual_seed(0)):
        start = in_ball(centre, 0.2, ball, random)
        away = change(start, centre, ball)
        assert float(away.max()) <= 0.2 + 1e-6
        inner = (away <= 0.1).float().mean().item()  # half the radius holds an eighth of three dimensions
        assert_close(inner, 1 / 8, rtol=0, atol=0.02)
        assert_close((start - centre).mean((0, 2, 3)), torch.zeros(3), rtol=0, atol=0.01)


def test_random_starts_depend_on_the_seed_of_the_image_only():
    centre = torch.rand(4, 3, 5, 5)
    one = in_ball(centre, 0.1, "l2", [3, 8, 9, 3])
    assert torch.equal(one[1:3], in_ball(centre[1:3], 0.1, "l2", [8, 9]))
    assert not torch.equal(one, in_ball(centre, 0.1, "l2", [4, 5, 6, 7]))
    laid_out = centre.to(memory_format=torch.channels_last)
    again = in_ball(laid_out, 0.1, "l2", [3, 8, 9, 3])
    assert again.is_contiguous(memory_format=torch.channels_last)
    assert_close(again.contiguous(), one)


def test_a_gradient_of_zero_moves_nothing():
    x, y = torch.rand(2, 3, 2, 2), torch.tensor([0, 1])
    model = nn.Sequential(nn.Flatten(), nn.Linear(12, 3))
    nn.init.zeros_(model[1].weight)  # pyright: ignore[reportArgumentType]
    for ball in BALLS:
        assert torch.equal(pgd(model, x, y, ball=ball), x)


def test_the_projection_onto_a_ball():
    images, moved = torch.full((1, 3, 2, 2), 0.5), torch.full((1, 3, 2, 2), 0.9)
    near = project(moved, images, 0.3, "l2")
    assert_close(lengths(near - images).item(), 0.3)
    assert torch.equal(project(images, images, 0.3, "l2"), images)


def test_an_empty_batch_stays_empty():
    found = pgd(convolutional(), torch.zeros(0, 3, 6, 6), torch.zeros(0, dtype=torch.int64), random=[])
    assert found.shape == (0, 3, 6, 6)


def test_an_attack_describes_itself():
    assert str(Attack(steps=20)) == "linf 8/255, step 2/255"
    assert str(Attack(0.5, ball="l2")) == "l2 0.5, step 0.125"
    assert Attack() == Attack(8 / 255, 2 / 255)


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        (
            {"eps": 0.0},
            ValueError,
            r"eps=0.0 was given. An attack needs a radius above 0.* Use the published eps=8/255",
        ),
        ({"step": -1.0}, ValueError, r"step=-1.0 was given. An attack needs a length above 0"),
        ({"steps": 0}, ValueError, r"steps=0 was given. An attack needs 1 step or more"),
        ({"ball": "l1"}, ValueError, r"ball='l1' was given. .* one of \['linf', 'l2'\]. Choose 'linf'"),
        ({"mode": "both"}, ValueError, r"mode='both' was given. .*\['eval', 'train'\]. Use 'eval'"),
        ({"mode": "train"}, ValueError, r"mode='train' was given for a model in evaluation mode.*Call model.train\(\)"),
        ({"eps": "8/255"}, TypeError, r"eps='8/255' was given.*numbers, without quotes"),
        ({"eps": None}, TypeError, r"eps=None was given"),
        ({"eps": torch.full((7,), 0.1)}, TypeError, r"eps=tensor.* was given. An attack needs a radius"),
        ({"eps": 8.0}, ValueError, r"eps=8.0 was given.*for linf is at most 1"),
        ({"eps": float("inf"), "ball": "l2"}, ValueError, r"eps=inf was given"),
        ({"steps": 2.5}, TypeError, r"steps=2.5 was given. An attack needs 1 step or more"),
        ({"steps": True}, TypeError, r"steps=True was given"),
        ({"random": 0}, TypeError, r"random=0 was given. Random starts need .*range\(len\(images\)\)"),
        ({"random": [0.1] * 7}, TypeError, r"random=\[0.1.* a whole number from 0 for each image"),
        ({"random": [2**70] * 7}, TypeError, r"a whole number from 0"),
        ({"normalize": (0.5, 0.5)}, TypeError, r"normalize=\(0.5, 0.5\) was given. .*a function"),
        ({"random": [1]}, ValueError, r"1 seeds were given for 7 images.*Pass as many"),
        ({"branch": "adv"}, ValueError, r"branch='adv' was given for a model without branches.*Leave branch out"),
    ],
)
def test_settings_that_cannot_be(changes: dict[str, Any], error: type[Exception], message: str):
    with pytest.raises(error, match=message):
        pgd(convolutional(), *batch(), **changes)


@pytest.mark.parametrize(
    ("images", "labels", "error", "message"),
    [
        (
            torch.zeros(2, 3, 6, 6, dtype=torch.uint8),
            None,
            TypeError,
            r"images of type torch.uint8.*Divide bytes by 255",
        ),
        ([[0.5]], None, TypeError, r"images of type list were given"),
        (torch.zeros(6), None, ValueError, r"images of shape \(6,\) were given. A batch .* is needed. Stack them"),
        (
            torch.full((2, 3, 6, 6), 1.2),
            None,
            ValueError,
            r"images between 1.2 and 1.2.*before normalization.*normalize=",
        ),
        (torch.full((2, 3, 6, 6), float("nan")), None, ValueError, r"images with NaN were given.*Drop or repair"),
        (torch.zeros(2, 3, 6, 6), torch.zeros(2), TypeError, r"labels of type torch.float32.*by .long\(\)"),
        (torch.zeros(2, 3, 6, 6), torch.zeros(3).long(), ValueError, r"labels of shape \(3,\) were given for 2 images"),
        (torch.zeros(2, 3, 6, 6), torch.tensor([0, -100]), ValueError, r"labels down to -100 were given.*Leave such"),
        (
            torch.zeros(2, 3, 6, 6),
            torch.tensor([0, 99]),
            ValueError,
            r"labels up to 99 were given for outputs of shape",
        ),
    ],
)
def test_what_cannot_be_attacked(images: Any, labels: Any, error: type[Exception], message: str):
    with pytest.raises(error, match=message):
        pgd(convolutional(), images, torch.zeros(2).long() if labels is None else labels)


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (lambda x: (x.flatten(1), x), r"the model returned a tuple. .* one tensor of logits"),
        (lambda x: x.flatten(1).detach(), r"the model's output has no gradient.*torch.no_grad or detach"),
    ],
)
def test_models_that_cannot_be_attacked(answer: Any, message: str):
    class Model(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> Any:
            return answer(x)

    with pytest.raises((TypeError, ValueError), match=message):
        pgd(Model(), torch.rand(2, 3, 2, 2), torch.zeros(2).long())
    with pytest.raises(TypeError, match=r"a model of type function was given. .*torch.nn.Module"):
        pgd(answer, torch.rand(2, 3, 2, 2), torch.zeros(2).long())


def test_a_gradient_that_is_no_number_is_an_error():
    model: Any = convolutional()
    model[4].weight.data.fill_(torch.inf)
    with pytest.raises(
        FloatingPointError, match=r"gradient of an attack is not finite: .* must be finite.*Check the weights"
    ):
        pgd(model, *batch())
