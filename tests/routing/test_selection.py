"""What a selection answers, against a list of the branches of all rows."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import nn
from torch.testing import assert_close

import renorm
from renorm.routing import Route, Selection

BRANCHES = ["a", "b", "c", "d", "e"]
N = 12
SPECS: dict[str, tuple[Any, list[int]]] = {
    "whole": (("c",), [2] * N),
    "label": ((torch.tensor(2),), [2] * N),
    "turns of neighbours": (("b", "c"), [1, 2] * 6),
    "turns of others": (("e", "a", "c"), [4, 0, 2] * 4),
    "blocks of neighbours": (({"b": 3, "c": 0, "d": 9},), [1] * 3 + [3] * 9),
    "blocks of others": (({"e": 5, "a": 7},), [4] * 5 + [0] * 7),
    "labels": ((torch.arange(N) * 7 % 5,), [i * 7 % 5 for i in range(N)]),
}


def selected(name: str) -> tuple[Selection, list[int]]:
    spec, rows = SPECS[name]
    norm = renorm.layers.SplitBatchNorm(3, BRANCHES)
    with renorm.route(norm, *spec):
        assert norm.route.open is not None
        return norm.route.open, rows


def agrees(selection: Selection, rows: list[int]) -> None:
    """The law: every answer is that of the list, or none."""
    n = len(rows)
    assert selection.index(n).tolist() == rows
    sizes, slices = selection.sizes(n), selection.slices(n)
    if sizes is not None:
        assert list(sizes) == [rows.count(row) for row in selection.rows]
    if slices is not None:
        for row, part in zip(selection.rows, slices, strict=True):
            assert list(range(n))[part] == [i for i in range(n) if rows[i] == row]
    if selection.beside:
        assert rows == list(selection.rows) * (n // selection.beside)
        assert selection.only == (rows[0] if selection.beside == 1 else None)
    assert selection.all_of(rows[0]) == (len(set(rows)) == 1)
    assert torch.arange(len(BRANCHES))[selection.take].tolist() == list(selection.rows)


@pytest.mark.parametrize("name", SPECS)
def test_answers_are_those_of_the_list(name: str) -> None:
    agrees(*selected(name))


@pytest.mark.parametrize("name", SPECS)
@pytest.mark.parametrize("order", ["sample", "time"])
def test_answers_for_folded_rows_are_those_of_the_list(name: str, order: Any) -> None:
    selection, rows = selected(name)
    want = [row for row in rows for _ in range(3)] if order == "sample" else rows * 3
    agrees(selection.folded(3, order, N), want)


@pytest.mark.parametrize("name", ["turns of others", "blocks of others", "labels"])
def test_the_law_sees_the_other_order(name: str) -> None:
    """Meta: rows folded the other way must break it."""
    selection, rows = selected(name)
    with pytest.raises(AssertionError):
        agrees(selection.folded(3, "time", N), [row for row in rows for _ in range(3)])


def test_what_the_host_knows_is_a_slice_where_it_can_be() -> None:
    """Slices copy nothing, and blocks are the form that has them."""
    assert selected("turns of neighbours")[0].take == slice(1, 3)
    assert selected("whole")[0].take == slice(2, 3)
    assert selected("label")[0].take == slice(2, 3)
    slices = selected("blocks of others")[0].slices(N)
    assert slices == (slice(0, 5), slice(5, 12))
    assert selected("labels")[0].slices(N) is None
    assert selected("labels")[0].sizes(N) is None


@pytest.mark.parametrize("name", SPECS)
def test_selections_that_divide_alike_are_equal(name: str) -> None:
    (one, _), (other, _) = selected(name), selected(name)
    assert one == other
    assert hash(one) == hash(other)
    assert sum(one == selected(each)[0] for each in SPECS) == (2 if name in ("whole", "label") else 1)
    other.order = "time"
    assert one != other
    if name == "labels":
        assert one != copy.deepcopy(one)  # of labels only the same tensor, as values are on the device


# One label for the whole batch


def net(share: Any = ()) -> Any:
    torch.manual_seed(0)
    model: Any = nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4))
    renorm.split_(model, BRANCHES, share=share)
    with torch.no_grad():
        model[1].bias.normal_()
    return model


@pytest.mark.parametrize("check", [True, False])
@pytest.mark.parametrize("training", [True, False])
def test_a_label_is_the_branch_of_that_row(check: bool, training: bool) -> None:
    model, x = net().train(training), torch.randn(4, 3, 2, 2)
    other = copy.deepcopy(model)
    with renorm.route(model, torch.tensor(3), check=check):
        y = model(x)
        assert renorm.Bank.of(model).branch == "d"
    with renorm.route(other, "d"):
        assert_close(y, other(x))
    assert_close(model.state_dict(), other.state_dict())
    assert_close(model[1](model[0](x), torch.tensor(3)), other[1](other[0](x), "d"))


def test_a_label_of_no_branch_is_refused_once_it_is_given() -> None:
    model = net()
    with (
        pytest.raises(ValueError, match=r"labels between 5 and 5 were given. The 5 branches"),
        renorm.route(model, torch.tensor(5)),
    ):
        raise AssertionError("the block must not run")
    with pytest.raises(ValueError, match=r"labels between -1 and -1.*unknown"):
        model[1](torch.randn(4, 4, 2, 2), torch.tensor(-1))
    with (
        pytest.raises(TypeError, match=r"\(N,\) int64, or one label \(\) for the whole batch"),
        renorm.route(model, torch.tensor(1.0)),
    ):
        raise AssertionError("the block must not run")


def test_a_label_can_be_unknown_where_samples_can() -> None:
    norm = renorm.layers.SandwichBatchNorm(4, BRANCHES)
    x = torch.randn(4, 4, 2, 2)
    with renorm.route(norm, torch.tensor(-1)):
        y = norm(x)
    assert_close(y, norm(x, "unknown"))


def test_norms_that_are_copied_whole_take_a_label() -> None:
    class Own(nn.BatchNorm2d):
        pass

    model: Any = nn.Sequential(nn.Conv2d(3, 4, 1), Own(4))
    renorm.split_(model, BRANCHES)
    for check in (True, False):
        with renorm.route(model, torch.tensor(1), check=check):
            model(torch.randn(4, 3, 2, 2))
    assert model[1].called(1).num_batches_tracked == 2


def test_a_route_is_one_object_for_names_and_rows() -> None:
    route = Route(BRANCHES, unknown=True)
    assert [route.name_of(route.row(name)) for name in (*BRANCHES, "unknown")] == [*BRANCHES, "unknown"]
