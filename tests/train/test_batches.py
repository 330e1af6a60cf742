"""Which examples a step has, and who takes them."""

from collections import Counter

import pytest

from renorm.train import Order
from renorm.train.batches import pieces


@pytest.mark.parametrize("forwards", [1, 2, 3])
@pytest.mark.parametrize("ranks", [1, 2, 5])
def test_processes_and_forwards_divide_the_same_steps(forwards: int, ranks: int):
    whole = list(Order(53, 17, seed=0, epoch=2, least=2))
    assert [share.total for share in whole] == [17, 17, 17, 2]
    divided = [list(Order(53, 17, 0, 2, 0, 2, forwards, rank, ranks)) for rank in range(ranks)]
    for step, share in enumerate(whole):
        mine = [each[step] for each in divided]
        assert {each.total for each in mine} == {len(share.keys)}
        assert {each.place for each in mine} == {(2, step)}
        assert all(sum(each.sizes) == len(each.keys) and len(each.sizes) == forwards for each in mine)
        again = []
        for forward in range(forwards):
            for each in mine:
                start = sum(each.sizes[:forward])
                again += each.keys[start : start + each.sizes[forward]]
        assert again == share.keys  # forward by forward, each in its processes' order


def test_a_last_step_is_taken_where_it_is_long_enough():
    assert [len(list(Order(10, 4, 0, 0, least=least))) for least in (None, 2, 3)] == [2, 3, 2]
    assert len(Order(10, 4, 0, 0, first=1, least=2)) == 2
    assert [share.place for share in Order(10, 4, 0, 5, first=1, least=2)] == [(5, 1), (5, 2)]
    keys = [key for share in Order(10, 4, 0, 0, least=1) for key in share.keys]
    assert Counter(index for _, index in keys) == Counter(range(10))


def test_pieces_differ_by_at_most_one():
    keys = [(0, i) for i in range(11)]
    assert [len(piece) for piece in pieces(keys, 4)] == [3, 3, 3, 2]
    assert [key for piece in pieces(keys, 4) for key in piece] == keys
    assert [len(piece) for piece in pieces(keys[:2], 4)] == [1, 1, 0, 0]
