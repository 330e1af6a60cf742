"""Draws: labels and weights, permutations within branches, random numbers of a step."""

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.testing import assert_close

from renorm.mix.draws import Draw, permutation_within, step_random

share = st.floats(0, 1, allow_subnormal=False)


def cycle(n: int) -> Tensor:
    return torch.arange(n).roll(-1)


def oracle(pixels: float, moments: float, pi: list[int], y: list[int], n: int) -> dict[int, float]:
    """Label by label: sample n has pixels of itself and of pi(n), its donor pi(n) those of pi(n) and of pi(pi(n))."""
    weights: dict[int, float] = {}
    for content, of_content in ((n, moments), (pi[n], 1 - moments)):
        for image, of_image in ((content, pixels), (pi[content], 1 - pixels)):
            weights[y[image]] = weights.get(y[image], 0) + of_content * of_image
    return weights


@settings(deadline=None, max_examples=50)
@given(share, share, st.permutations(range(5)))
def test_labels_follow_where_pixels_and_moments_come_from(pixels, moments, pi):
    y = [3, 0, 4, 1, 2]
    draw = Draw(torch.tensor(pi), moments=moments, pixels=pixels)
    soft = draw.probabilities(torch.tensor(y), 5)
    for n in range(5):
        want = oracle(pixels, moments, list(pi), y, n)
        assert_close(soft[n], torch.tensor([want.get(k, 0.0) for k in range(5)]), rtol=1e-5, atol=1e-6)
    terms = draw.terms(torch.tensor(y))
    assert abs(sum(float(weight) for weight, _ in terms) - 1) < 1e-9
    assert all(weight > 0 for weight, _ in terms)


def test_the_published_weights():
    terms = Draw(cycle(3), moments=0.9, pixels=0.7).terms(torch.arange(3))
    assert_close([float(weight) for weight, _ in terms], [0.63, 0.34, 0.03])
    assert [labels.tolist() for _, labels in terms] == [[0, 1, 2], [1, 2, 0], [2, 0, 1]]


@pytest.mark.parametrize(
    ("options", "weights"),
    [
        ({}, [1.0]),
        ({"moments": 0.9}, [0.9, 0.1]),
        ({"pixels": 0.7}, [0.7, 0.3]),
        ({"moments": 1.0, "pixels": 0.0}, [1.0]),
        ({"moments": 0.0}, [1.0]),
    ],
    ids=str,
)
def test_one_of_both_is_its_ordinary_loss(options, weights):
    assert_close([float(weight) for weight, _ in Draw(cycle(3), **options).terms(torch.arange(3))], weights)


def test_the_loss_is_linear_in_labels_so_both_ways_agree():
    logits, y = torch.randn(4, 5, dtype=torch.float64), torch.tensor([0, 2, 1, 4])
    draw = Draw(cycle(4), moments=0.9, pixels=0.7)
    by_terms = draw.loss(F.cross_entropy, logits, y)
    assert_close(by_terms, F.cross_entropy(logits, draw.probabilities(y, 5).double()), rtol=1e-6, atol=1e-6)
    soft = F.one_hot(y, 5).float() * 0.9 + 0.02
    mixed = draw.probabilities(soft, 5)
    assert_close(mixed, 0.63 * soft + 0.34 * soft[cycle(4)] + 0.03 * soft[cycle(4)[cycle(4)]])


def test_weights_of_samples_and_losses_of_any_rank():
    moments = torch.tensor([1.0, 0.9, 1.0, 0.9])
    draw = Draw(cycle(4), moments=moments, pixels=0.7)
    y = torch.randint(0, 5, (4, 3))
    logits = torch.randn(4, 5, 3)
    loss = draw.loss(torch.nn.CrossEntropyLoss(reduction="none"), logits, y)
    assert loss.shape == (4, 3)
    first, second = (F.cross_entropy(logits, t, reduction="none") for t in (y, y[cycle(4)]))
    assert_close(loss[0], (0.7 * first + 0.3 * second)[0])
    assert len(draw.terms(y)) == 3
    assert len(Draw(cycle(4), moments=moments).terms(y)) == 2


@settings(deadline=None, max_examples=50)
@given(st.lists(st.integers(0, 3), min_size=1, max_size=30), st.integers(0, 100))
def test_permutations_stay_within_branches(branches, seed):
    index = torch.tensor(branches)
    pi = permutation_within(index, len(index), torch.Generator().manual_seed(seed))
    assert torch.equal(pi.sort().values, torch.arange(len(index)))
    assert torch.equal(index[pi], index)


def test_permutations_are_uniform():
    generator = torch.Generator().manual_seed(0)
    for branches in (None, torch.zeros(3, dtype=torch.int64)):
        seen = [tuple(permutation_within(branches, 3, generator).tolist()) for _ in range(3000)]
        counts = [seen.count(pi) for pi in set(seen)]
        assert len(counts) == 6
        assert min(counts) > 400  # of 500: fixed points are allowed


def test_a_step_takes_one_number_of_the_generator():
    generator, same = (torch.Generator().manual_seed(7) for _ in range(2))
    first = step_random(generator)
    torch.randint(2**62, (), generator=same)
    assert torch.equal(generator.get_state(), same.get_state())
    again = step_random(torch.Generator().manual_seed(7))
    assert first.scalars.random() == again.scalars.random()
    assert torch.equal(torch.rand(3, generator=first.tensors), torch.rand(3, generator=again.tensors))
    following = step_random(generator)
    assert following.scalars.random() != step_random(torch.Generator().manual_seed(7)).scalars.random()
