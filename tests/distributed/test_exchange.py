"""Exchange on several ranks: each draws its own, and parallel training sees one model."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from torch.testing import assert_close

import renorm
from tests.distributed.ranks import on_ranks


def net() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 6, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(6, 5))


def batch(rank: int) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(rank)
    return torch.randn(6, 3, 6, 6, generator=generator), torch.randint(0, 5, (6,), generator=generator)


def step(rank: int) -> list[Any]:
    """Draws and the averaged gradient of a step whose generators are seeded alike on all ranks."""
    model = DistributedDataParallel(net())
    mix = renorm.MomentExchange(model, after="1", weight=0.8, probability=0.5)
    draws = [mix.sample(batch(rank)[0], torch.Generator().manual_seed(seed)) for seed in range(20)]
    x, y = batch(rank)
    mix.use(mix.sample(x, torch.Generator().manual_seed(1)))
    mix.loss(F.cross_entropy, model(x), y).backward()
    used: Any = mix.draw
    donors = torch.arange(6) if used.donors is None else used.donors
    decisions = [draw.donors is not None for draw in draws]
    permutations = torch.stack([draw.permutation for draw in draws])
    gradients = [p.grad for p in model.parameters()]
    return [decisions, permutations, gradients, used.permutation, donors, used.moments]


def test_ranks_draw_their_own_and_train_one_model():
    ranks = on_ranks(2, step)
    (decisions, permutations, gradients, *_), other = ranks[0], ranks[1]
    assert decisions != other[0]
    assert not torch.equal(permutations, other[1])
    assert_close(gradients, other[2])
    reference = net()
    for rank, (*_, pi, donors, m) in enumerate(ranks):
        x, y = batch(rank)
        logits = reference[2:](renorm.functional.exchange_moments(reference[:2](x), donors))
        loss = m * F.cross_entropy(logits, y) + (1 - m) * F.cross_entropy(logits, y[pi])
        (loss / 2).backward()
    assert_close(gradients, [p.grad for p in reference.parameters()])
