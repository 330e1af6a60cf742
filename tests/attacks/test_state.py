"""An attack leaves a model as it was, in every state, wrapped in every way, also after an error."""

import copy
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.testing import assert_close
from torch.utils.checkpoint import checkpoint

import renorm
from renorm.attacks import fgsm, pgd, trades
from renorm.models import create
from tests.attacks.test_attack import batch
from tests.banks.models import Unknown
from tests.distributed.ranks import on_ranks

BRANCHES = ["clean", "adv"]


def network(norm: type[nn.Module] = nn.BatchNorm2d) -> Any:
    """Two branches that differ, in training mode but for one part, with a gradient here and none there."""
    torch.manual_seed(0)
    model: Any = nn.Sequential(
        nn.Conv2d(3, 6, 3), norm(6), nn.ReLU(), nn.Dropout(0.5), nn.Conv2d(6, 5, 4), norm(5), nn.Flatten()
    )
    renorm.split_(model, BRANCHES)
    for tensor in [*model.buffers(), *model.parameters()]:
        if tensor.is_floating_point() and tensor.ndim == 1:
            tensor.data += torch.rand_like(tensor)
    model.train()
    model[2].eval()
    model[0].weight.requires_grad_(False)
    parameter: Any = model[4].weight
    parameter.grad = torch.ones_like(parameter)
    return model


def state(model: nn.Module) -> list[Any]:
    parameters = dict(model.named_parameters())
    return [
        {name: tensor.clone() for name, tensor in model.state_dict().items()},
        {name: None if p.grad is None else p.grad.clone() for name, p in parameters.items()},
        {name: p.requires_grad for name, p in parameters.items()},
        [module.training for module in model.modules()],
        torch.get_rng_state(),
    ]


def assert_same(a: list[Any], b: list[Any]) -> None:
    for one, other in zip(a, b, strict=True):
        assert_close(one, other, rtol=0, atol=0)


ATTACKS: dict[str, Any] = {
    "pgd": lambda model, x, y, **more: pgd(model, x, y, eps=0.1, steps=3, random=range(len(x)), **more),
    "fgsm": lambda model, x, y, **more: fgsm(model, x, y, eps=0.1, **more),
    "trades": lambda model, x, y, **more: trades(model, x, eps=0.1, steps=3, random=range(len(x)), **more),
}


@pytest.mark.parametrize("norm", [nn.BatchNorm2d, Unknown])
@pytest.mark.parametrize("name", ATTACKS)
def test_everything_is_as_it_was(name: str, norm: type[nn.Module]):
    model, (x, y) = network(norm), batch()
    before, kept = state(model), x.clone()
    found = ATTACKS[name](model, x, y, branch="adv")
    assert_same(state(model), before)
    assert torch.equal(x, kept)
    assert not found.requires_grad
    assert found.grad_fn is None
    assert not torch.equal(found, x)
    assert found.data_ptr() != x.data_ptr()


@pytest.mark.parametrize("name", ATTACKS)
def test_an_attack_uses_the_running_statistics_of_its_branch(name: str):
    model, (x, y) = network(), batch()
    plain = renorm.fold(model, "adv").eval()
    expected = ATTACKS[name](plain, x, y)
    assert_close(ATTACKS[name](model, x, y, branch="adv"), expected, rtol=0, atol=1e-6)
    with renorm.route(model, "adv"):
        assert_close(ATTACKS[name](model, x, y), expected, rtol=0, atol=1e-6)
    assert not torch.allclose(ATTACKS[name](model, x, y, branch="clean"), expected, atol=1e-3)


def test_train_mode_moves_the_statistics_once_a_step_unless_frozen():
    model, (x, y) = network(), batch()
    before = state(model)
    with renorm.frozen_statistics(model):
        frozen = pgd(model, x, y, steps=7, branch="adv", mode="train")
    assert_same(state(model)[:4], before[:4])  # dropout has drawn
    torch.set_rng_state(before[-1])
    moved = pgd(model, x, y, steps=7, branch="adv", mode="train")
    assert_close(moved, frozen)
    after = state(model)
    assert after[0]["1.num_batches_tracked"].tolist() == [0, 7]
    assert torch.equal(after[0]["1.running_mean"][:6], before[0]["1.running_mean"][:6])
    assert not torch.equal(after[0]["1.running_mean"][6:], before[0]["1.running_mean"][6:])
    assert_same(after[1:4], before[1:4])


def test_a_route_of_any_form_is_followed_and_stays_open():
    model, (x, y) = network(), batch(6)
    apart = [pgd(model, x[i::2], y[i::2], branch=name) for i, name in enumerate(BRANCHES)]
    with renorm.route(model, *BRANCHES):
        found = pgd(model, x, y)
        assert_close(found, renorm.interleave(*apart), rtol=0, atol=1e-6)
        assert model(x).shape == (6, 5)
    labels = torch.tensor([1, 0, 1, 1, 0, 0])
    with renorm.route(model, labels):
        by_label = pgd(model, x, y)
    assert_close(by_label[labels == 1], pgd(model, x[labels == 1], y[labels == 1], branch="adv"), rtol=0, atol=1e-6)
    renorm.route_(model, train=("clean", "adv"), eval="adv")
    assert_close(pgd(model, x, y), pgd(model, x, y, branch="adv"), rtol=0, atol=0)


def test_several_branches_and_none_named_is_an_error():
    with pytest.raises(ValueError, match=r"no branch was given, and the model has \['clean', 'adv'\].*Pass branch="):
        pgd(network(), *batch())
    with pytest.raises(ValueError, match=r"'advv' is not a branch.*Did you mean 'adv'"):
        pgd(network(), *batch(), branch="advv")


def test_everything_is_as_it_was_after_an_error():
    model, (x, y) = network(), batch()
    before = state(model)
    with pytest.raises(RuntimeError):
        pgd(model, x[:, :2], y, branch="adv")
    assert_same(state(model), before)
    assert renorm.routing.routes_of(model)[0].open is None


def test_normalization_is_part_of_the_model():
    model, (x, y) = network(), batch()
    mean, std = torch.tensor([0.5, 0.4, 0.3]).view(3, 1, 1), torch.tensor([0.2, 0.3, 0.4]).view(3, 1, 1)

    class Inside(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.model = model

        def forward(self, x: Tensor) -> Tensor:
            return self.model((x - mean) / std)

    inside, given = Inside().train(), pgd(model, x, y, branch="adv", normalize=lambda x: (x - mean) / std)
    assert_close(pgd(inside, x, y, branch="adv"), given, rtol=0, atol=0)
    assert not torch.equal(given, pgd(model, x, y, branch="adv"))


def test_without_gradients_outside_and_in_inference_mode():
    model, (x, y) = network(), batch()
    expected = pgd(model, x, y, branch="adv")
    with torch.no_grad():
        assert torch.equal(pgd(model, x, y, branch="adv"), expected)
        assert not torch.is_grad_enabled()
    with torch.inference_mode():
        assert torch.equal(pgd(model, x.clone(), y.clone(), branch="adv"), expected)


def test_16_bits():
    model, (x, y) = network().bfloat16(), batch()
    found = pgd(model, x.bfloat16(), y, eps=0.1, steps=3, branch="adv", random=range(7))
    assert found.dtype == torch.bfloat16
    assert float((found.float() - x.bfloat16().float()).abs().max()) <= 0.1 + 2**-9  # half of the last place near 1
    assert float(found.float().min()) >= 0
    exact, model = network(), network()
    with torch.autocast("cpu", torch.bfloat16):
        mixed = pgd(model, x, y, eps=0.1, steps=3, branch="adv")
        with renorm.route(model, *BRANCHES):  # weights that autocast has cached must still have gradients
            model(x[:6]).float().sum().backward()
    assert model[4].weight.grad is not None
    assert mixed.dtype == torch.float32
    agree = (mixed == pgd(exact, x, y, eps=0.1, steps=3, branch="adv")).float().mean()
    assert 0.7 < agree <= 1


def test_memory_format_is_kept():
    model, (x, y) = network(), batch()
    laid_out = x.to(memory_format=torch.channels_last)
    found = pgd(model.to(memory_format=torch.channels_last), laid_out, y, branch="adv", random=range(7))
    assert found.is_contiguous(memory_format=torch.channels_last)
    assert_close(found.contiguous(), pgd(model, x, y, branch="adv", random=range(7)), rtol=0, atol=1e-4)


class Checkpointed(nn.Module):
    """Recomputes in backward, in training mode only as timm's models do, or always."""

    def __init__(self, always: bool) -> None:
        super().__init__()
        self.body, self.always = network(), always

    def forward(self, x: Tensor) -> Tensor:
        return checkpoint(self.body, x, use_reentrant=False) if self.training or self.always else self.body(x)


@pytest.mark.parametrize("always", [False, True])
def test_activation_checkpointing_of_the_step_around_it(always: bool):
    model, (x, y) = Checkpointed(always).train(), batch(6)
    plain = copy.deepcopy(model.body)
    with renorm.route(model, *BRANCHES):
        torch.manual_seed(1)
        loss = model(x).square().sum()  # waits for its backward while the attack runs
        found = pgd(model, x, y, branch="adv")
        loss.backward()
    with renorm.route(plain, *BRANCHES):
        torch.manual_seed(1)
        plain(x).square().sum().backward()
    assert_close(found, pgd(model.body, x, y, branch="adv"), rtol=0, atol=0.02)
    assert_close(model.body[1].weight.grad, plain[1].weight.grad)


def test_it_compiles():
    torch._dynamo.reset()
    torch.manual_seed(0)
    model, (x, y) = create("resnet8"), batch(6)
    renorm.split_(model, BRANCHES)
    x = F.interpolate(x, 16)
    compiled: Any = torch.compile(model.train(), backend="eager")
    expected = pgd(model, x, y, branch="adv", random=range(6))
    found = pgd(compiled, x, y, branch="adv", random=range(6))
    assert_close(found, expected, rtol=0, atol=2e-3)
    with renorm.route(model, *BRANCHES):
        compiled(x).sum().backward()
    assert all(p.grad is not None for p in model.parameters())


def attack_and_step(rank: int) -> list[Tensor]:
    """A rank's attack, alone, and the gradients of a step on what it found."""
    model = network()
    model[3].eval()
    parallel = nn.parallel.DistributedDataParallel(model)
    x, y = (each[3 * rank : 3 * rank + 2 + rank] for each in batch())
    found = pgd(parallel, x, y, branch="adv", random=range(len(x)))  # ranks differ in size: none may wait
    model.zero_grad()
    with renorm.route(model, "adv"):
        F.cross_entropy(parallel(found), y).backward()
    return [found, model[4].weight.grad.clone()]


def test_ranks_attack_alone_and_train_together():
    ranks = on_ranks(2, attack_and_step)
    gradients = []
    for rank, (found, _) in enumerate(ranks):
        model = network()
        model[3].eval()
        x, y = (each[3 * rank : 3 * rank + 2 + rank] for each in batch())
        assert_close(found, pgd(model, x, y, branch="adv", random=range(len(x))), rtol=0, atol=1e-5)
        model.zero_grad()
        with renorm.route(model, "adv"):
            F.cross_entropy(model(found), y).backward()
        gradients.append(model[4].weight.grad)
    for _, gradient in ranks:
        assert_close(gradient, torch.stack(gradients).mean(0), rtol=1e-4, atol=1e-6)
