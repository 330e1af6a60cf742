from __future__ import annotations

import sys

import pytest
import torch

from renorm.data import Images, in_order, matched, tell_order
from renorm.data.classes import outputs_of
from renorm.notice import Notice

TIMM = ["n01440764", "n01443537", "n15075141"]  # outputs 0, 1 and 999 of ImageNet's models


def images(classes: list[str], labels: list[int]) -> Images:
    return Images("x", torch.zeros(len(labels), 3, 8, 8, dtype=torch.uint8), torch.tensor(labels), classes)


@pytest.mark.parametrize(
    ("names", "classes", "outputs"),
    [
        (["a", "b"], ["a", "b"], [0, 1]),
        (["a", "c"], ["c", "b", "a"], [2, 0]),
        (["a", "b"], [], None),
        (["a", "b"], ["0", "1"], None),
        (["7", "3"], [], [7, 3]),
        (["7", "3"], [f"name {i}" for i in range(8)], [7, 3]),
        (TIMM, [], [0, 1, 999]),
        (TIMM, [f"name {i}" for i in range(1000)], [0, 1, 999]),
        (TIMM, [str(i) for i in range(1000)], [0, 1, 999]),
        (TIMM, ["0", "1", "2"], None),
        ([f"n{i:08d}" for i in range(1000)], [], None),
        ([], ["a", "b"], None),
    ],
)
def test_outputs_by_name(names: list[str], classes: list[str], outputs: list[int] | None):
    found = outputs_of(names, classes, "x")
    assert (None if found is None else found.tolist()) == outputs


@pytest.mark.parametrize(
    ("names", "classes", "message"),
    [
        (["a", "q"], ["a", "b"], r"x has 2 classes, of which 1 \(q\) are none of the model's 2 \(a, b\)\..*Rename"),
        (TIMM, ["cat", "dog"], r"of which 3 \(n01440764, .* WordNet ids are understood for models of ImageNet's 1,000"),
        (["n00000001"], [], r"1 classes \(n00000001\) that are none of ImageNet's 1,000\. .*Pass classes"),
        (["12"], ["a", "b"], r"x has a class 12, and the model has 2 outputs\. Numbers below that are needed"),
    ],
)
def test_classes_that_are_not_the_model_s_are_refused(names: list[str], classes: list[str], message: str):
    with pytest.raises(ValueError, match=message):
        outputs_of(names, classes, "x")


def test_labels_follow_the_order_of_the_outputs():
    found, outputs = matched(images(["a", "c", "b"], [0, 1, 2, 2, -1]), ["z", "b", "y", "a", "c"])
    assert outputs is not None
    assert outputs.tolist() == [1, 3, 4]
    assert found.classes == ["b", "a", "c"]
    assert found.labels.tolist() == [1, 2, 0, 0, -1]


def test_all_outputs_in_another_order_are_none():
    found, outputs = matched(images(["10", "2", "0", "1"], [0, 1, 2, 3]), [])
    assert outputs is not None  # 10 of unknown many
    found, outputs = matched(images(["2", "0", "1"], [0, 1, 2]), [])
    assert outputs is None
    assert found.labels.tolist() == [2, 0, 1]


def test_labels_in_the_order_of_all_outputs():
    given = images(["b", "c", "a"], [0, 1, 2, -1])
    found = in_order(given, ["a", "b", "c"])
    assert found.labels.tolist() == [1, 2, 0, -1]
    assert found.classes == ["a", "b", "c"]
    with pytest.warns(
        Notice, match=r"outputs have no names: the classes of x are taken for them in the order b, c, a\.$"
    ):
        tell_order(given, [])
    tell_order(given, ["a", "b", "c"])
    assert in_order(given, []) is given
    assert in_order(images(["0", "1"], [0, 1]), ["a", "b", "c"]).labels.tolist() == [0, 1]  # the last class is missing
    assert in_order(images([], [-1, -1]), ["a", "b"]).labels.tolist() == [-1, -1]
    with pytest.raises(
        ValueError, match=r"x has 3 classes and the model 4 outputs: both must be the same.*--shifts FOLDER"
    ):
        in_order(given, ["a", "b", "c", "d"])
    with pytest.raises(ValueError, match=r"of which 1 \(b\) are none of the model's 3.*must be among the model's"):
        in_order(given, ["a", "c", "e"])


def test_without_timm_the_list_of_imagenet_is_missed(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "timm.data", None)
    with pytest.raises(ImportError, match=r"timm is .*pip install '\.\[timm\]'"):
        outputs_of(TIMM, [], "x")
    assert outputs_of(TIMM, TIMM, "x") is not None
