from __future__ import annotations

import pytest

from renorm import progress
from renorm.notice import Notice, notice
from renorm.progress import Far, listening, told


def says() -> None:
    notice("it is said.")


def test_a_note_is_a_warning_of_the_caller():
    with pytest.warns(Notice, match=r"^it is said\.$") as said:
        says()
    assert said[0].filename == __file__


def test_a_listener_hears_how_far_long_work_is(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(progress, "EVERY", 0.0)
    monkeypatch.setattr(progress, "SHARE", 0.0)
    heard: list[Far] = []
    with listening(heard.append):
        assert list(told(["a", "b"], "listing x")) == ["a", "b"]
        assert list(told([range(3), range(2)], "decoding", 5)) == [range(3), range(2)]
    assert [(far.what, far.done, far.total) for far in heard] == [
        *(("listing x", 1, 0), ("listing x", 2, 0)),
        *(("decoding", 3, 5), ("decoding", 5, 5)),
    ]
    assert list(told([1], "unheard")) == [1]
    assert len(heard) == 4


def test_nothing_is_heard_of_short_work():
    heard: list[Far] = []
    with listening(heard.append):
        list(told(range(5), "x", 5))
    assert not heard


def test_how_far_it_is_without_a_total():
    assert str(Far("listing x", 2000, 0, 4.0)) == "listing x: 2,000, 500 images/s"
    assert str(Far("ranking", 7, 100, 2.0, "cells")) == "ranking: 7 of 100, 3.5 cells/s, 27 s left"
