"""Training a split model on several ranks with `sync=` is training on one; without it statistics are local."""

from functools import partial
from typing import Any

import pytest
import torch
import torch.distributed as dist
from torch import Tensor
from torch.testing import assert_close

import renorm
from tests.banks.models import small
from tests.distributed.ranks import on_ranks

BRANCHES = ["weak", "strong"]
STEPS = [  # the branch of every sample, for each rank of each step
    [[0, 1, 0, 1], [0, 1]],
    [[0, 0, 0, 1], [0]],
    [[1, 1], [1, 1, 1]],
    [[0, 0, 1], []],
]


def data(step: int, rank: int) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(10 * step + rank)
    size = len(STEPS[step][rank])
    x = torch.randn((size, 3, 4, 4), generator=generator) + 2 * rank
    return x, torch.randn((size, 7, 4, 4), generator=generator)


def arguments(step: int, rank: int, kind: str) -> tuple[Any, ...]:
    """The route of a rank's batch: the form that fits it, or labels."""
    samples = STEPS[step][rank]
    if kind == "labels":
        return (torch.tensor(samples, dtype=torch.int64),)
    if step == 0:
        return tuple(BRANCHES)
    if step == 2:
        return ("strong",)
    return ({"weak": samples.count(0), "strong": samples.count(1)},)


def steps(ranks: list[int], kind: str, share: Any = (), sync: Any = None, convert: Any = renorm.split_) -> list[Any]:
    """Losses, gradients and statistics of training on the data of some ranks in this process."""
    model, trace = small(dropout=0.0).train(), []
    convert(model, BRANCHES, share=share, sync=sync)
    optimizer = torch.optim.SGD(model.parameters(), 0.05, momentum=0.9)
    for step, parts in enumerate(STEPS):
        x, target = (torch.cat(ts) for ts in zip(*(data(step, rank) for rank in ranks), strict=True))
        labels = torch.tensor([k for rank in ranks for k in parts[rank]], dtype=torch.int64)
        if not len(labels) and sync is None:
            break
        spec = arguments(step, ranks[0], kind) if len(ranks) == 1 else (labels,)
        optimizer.zero_grad()
        with renorm.route(model, *spec):
            loss = (model(x) - target).square().mean((1, 2, 3)).sum() / sum(map(len, parts))
        loss.backward()
        loss = loss.detach()
        if sync is not None:
            for tensor in [loss, *(p.grad for p in model.parameters())]:
                dist.all_reduce(tensor)
        gradients = {key: p.grad.clone() for key, p in model.named_parameters()}
        optimizer.step()
        trace.append([loss, gradients, {key: value.clone() for key, value in model.state_dict().items()}])
    return trace


def train(rank: int) -> dict[str, Any]:
    return {
        "blocks": steps([rank], "blocks", sync="world"),
        "labels": steps([rank], "labels", sync=dist.group.WORLD),
        "shared statistics": steps([rank], "blocks", "statistics", sync="world"),
        "sandwich": steps([rank], "labels", "statistics", "world", renorm.sandwich_),
        "sandwich of statistics per branch": steps([rank], "blocks", (), "world", renorm.sandwich_),
        "left out": steps([rank], "labels", (), "world", partial(renorm.split_, sites="5")),
        "local": steps([rank], "blocks"),
    }


@pytest.fixture(scope="module")
def ranks() -> list[Any]:
    return on_ranks(2, train)


@pytest.mark.parametrize(
    ("kind", "share", "convert"),
    [
        ("blocks", (), renorm.split_),
        ("labels", (), renorm.split_),
        ("shared statistics", "statistics", renorm.split_),
        ("sandwich", "statistics", renorm.sandwich_),
        ("sandwich of statistics per branch", (), renorm.sandwich_),
    ],
)
def test_training_in_step_with_other_ranks_is_training_on_one(kind: str, share: Any, convert: Any, ranks: list[Any]):
    expected = steps([0, 1], "labels", share, None, convert)
    assert len(expected) == len(STEPS)
    for each in ranks:
        assert_close(each[kind], expected, rtol=1e-5, atol=1e-5)


def test_norms_left_out_of_the_conversion_are_in_step_too(ranks: list[Any]):
    expected = steps([0, 1], "labels", (), None, partial(renorm.split_, sites="5"))
    for each in ranks:
        for (loss, gradients, state), (one_loss, one_gradients, one_state) in zip(
            each["left out"], expected, strict=True
        ):
            assert_close((loss, gradients), (one_loss, one_gradients), rtol=1e-5, atol=1e-5)
            assert_close({key: state[key].view_as(t) for key, t in one_state.items()}, one_state, rtol=1e-5, atol=1e-5)


def test_statistics_are_local_without_it(ranks: list[Any]):
    for rank, each in enumerate(ranks):
        assert_close(each["local"], steps([rank], "blocks"), rtol=1e-5, atol=1e-6)
    with pytest.raises(AssertionError):  # so the law above can fail
        assert_close(ranks[0]["local"][0][2], ranks[0]["blocks"][0][2], rtol=0.02, atol=0.02)


@pytest.mark.parametrize("spec", [("weak",), ("weak", "strong"), ({"weak": 0, "strong": 0},), (torch.zeros(0).long(),)])
def test_a_rank_without_samples_changes_nothing_of_its_own(spec: Any):
    model = small().train()
    renorm.split_(model, BRANCHES)
    before = {key: value.clone() for key, value in model.state_dict().items()}
    with renorm.route(model, *spec):
        y = model(torch.zeros(0, 3, 4, 4))
    y.sum().backward()
    assert y.shape == (0, 7, 4, 4)
    assert_close(dict(model.state_dict()), before, rtol=0, atol=0)
    assert all(p.grad is not None and not p.grad.any() for p in model.parameters())
