"""Freezing is deterministic, and comparing sees the last bit, a name and a missing case."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from tests.golden import freeze
from tests.golden.freeze import compare, main, write

FOUND = {
    "loss": {"first": [1.5, float("nan")]},
    "weights": torch.linspace(0, 1, 6).view(2, 3),
    "steps": torch.tensor(3),
}


def folders(tmp_path: Path, **changes: Any) -> tuple[Path, Path]:
    """Two folders of two cases, the second case of the second folder with some values changed."""
    for name, changed in (("a", {}), ("b", changes)):
        write(tmp_path / name, "one", FOUND)
        write(tmp_path / name, "two", {**FOUND, **changed})
    return tmp_path / "a", tmp_path / "b"


def test_equal_folders_do_not_differ(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    a, b = folders(tmp_path)
    assert compare(a, b) == []
    assert main(["--compare", str(a), str(b)]) == 0
    assert capsys.readouterr().out == "2 cases, no difference\n"


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        (
            {"weights": torch.nextafter(FOUND["weights"], torch.tensor(2.0))},
            "two: 1 of 4 differ, first weights, most weights: 1.19e-07",
        ),
        ({"weights": -FOUND["weights"].clamp(max=0)}, "two: 1 of 4 differ, first weights, most weights: 1"),
        ({"weights": FOUND["weights"].double()}, "two: 1 of 4 differ, first weights, most weights: 0"),
        ({"loss": {"first": [1.5, 2.0]}}, "two: 1 of 4 differ, first loss/first/1, most loss/first/1: nan and 2.0"),
        (
            {"loss": {"first": [1.25]}},
            "two: 1 lost (loss/first/1, ...); 1 of 4 differ, first loss/first/0, most loss/first/0: 0.25",
        ),
        ({"more": torch.zeros(1)}, "two: 1 new (more, ...)"),
        ({"steps": 3}, "two: 1 of 4 differ, first steps, most steps: tensor(3) and 3"),
    ],
)
def test_any_difference_is_seen(changes: dict[str, Any], line: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    a, b = folders(tmp_path, **changes)
    assert compare(a, b) == [line]
    assert main(["--compare", str(a), str(b)]) == 1
    assert capsys.readouterr().out == f"{line}\n"
    assert compare(a, b, "one") == []


def test_zeros_of_different_signs_differ(tmp_path: Path):
    a, b = folders(
        tmp_path, weights=FOUND["weights"] * torch.tensor([-1.0, 1, 1]).abs().where(FOUND["weights"] > 0, -1)
    )
    assert compare(a, b) == ["two: 1 of 4 differ, first weights, most weights: 0"]


def test_a_case_that_is_missing_or_renamed_is_seen(tmp_path: Path):
    a, b = folders(tmp_path)
    for suffix in (".json", ".safetensors"):
        (b / f"two{suffix}").rename(b / f"three{suffix}")
    assert compare(a, b) == ["three: only in b", "two: only in a"]


def test_an_empty_folder_is_refused(tmp_path: Path):
    a, _ = folders(tmp_path)
    with pytest.raises(
        FileNotFoundError, match=r"no frozen cases in .*none: a folder that .* is needed. Write one first"
    ):
        compare(a, tmp_path / "none")


def test_a_case_that_fails_is_told_and_others_are_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    from tests.golden import cases

    monkeypatch.setattr(cases, "CASES", {"broken": lambda: {"a": 1 / 0}, "fine": lambda: FOUND})
    assert freeze.freeze(tmp_path) == ["broken"]
    assert freeze.names(tmp_path, "*") == {"fine"}
    assert main([str(tmp_path / "all")]) == 1
    assert main([str(tmp_path / "some"), "--only", "f*"]) == 0


PART = ["train split", "adapt sandwich, default", "measure plain", "site split"]


@pytest.mark.slow
def test_a_part_of_the_cases_is_the_same_twice(tmp_path: Path):
    for folder in ("a", "b"):
        for name in PART:
            freeze.freeze(tmp_path / folder, name)
    assert compare(tmp_path / "a", tmp_path / "b") == []


def test_a_rate_that_is_a_little_larger_is_seen(tmp_path: Path):
    from tests.golden import cases

    write(tmp_path / "a", "train split", cases.training(norm="split"))
    write(tmp_path / "b", "train split", cases.training(norm="split", rate=0.05 * (1 + 2**-20)))
    (line,) = compare(tmp_path / "a", tmp_path / "b")
    assert "train split: " in line
