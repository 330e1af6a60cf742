"""The list of all cells: which are open, and running them one after the other."""

from __future__ import annotations

import sys
from importlib import import_module
from pathlib import Path

import pytest

from experiments import cells
from experiments.cells import Study

SCRIPT = """
import sys
from pathlib import Path
arm, seed = sys.argv[sys.argv.index("--arms") + 1], sys.argv[sys.argv.index("--seeds") + 1]
if arm == "bad":
    sys.exit(3)
with open(Path(__file__).parent / "calls.txt", "a") as calls:
    calls.write(" ".join(sys.argv[1:]) + "\\n")
table = Path(__file__).parent / "results" / sys.argv[1] / f"{arm}-{seed}.csv"
table.parent.mkdir(parents=True, exist_ok=True)
table.write_text("done")
"""


@pytest.fixture
def study(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A study of two arms, one of which fails, and two seeds, and one whose data nobody has."""
    folder = tmp_path / "toy"
    folder.mkdir()
    (folder / "study.py").write_text(SCRIPT)
    studies = (
        Study("toy", "small", ("bad", "good"), 2, 3, ("--data", "{images}")),
        Study("other", "", ("any",), 1, 0, ("--table", "{missing}")),
    )
    monkeypatch.setattr(cells, "HERE", tmp_path)
    monkeypatch.setattr(cells, "STUDIES", studies)
    monkeypatch.setattr(cells.os, "nice", lambda by: by)
    return folder


def call(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> object:
    monkeypatch.setattr(sys, "argv", ["cells.py", *arguments])
    try:
        return cells.main()
    except SystemExit as stopped:
        return stopped.code


def test_what_is_open_is_run_once(study: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]):
    runs = str(study.parent / "runs")
    assert call(monkeypatch, runs, "--run", "--at", "images=here") == 1
    said = capfd.readouterr()
    assert said.err.strip() == "failed: toy small bad-0, toy small bad-1"
    assert "toy small good-1: finished" in said.out
    assert "other" not in said.out
    made = (study / "calls.txt").read_text()
    assert made.splitlines()[0] == f"small {runs}/toy-small --data here --arms good --seeds 0"
    call(monkeypatch, runs, "--run", "--at", "images=here")
    assert (study / "calls.txt").read_text() == made
    capfd.readouterr()
    call(monkeypatch, runs)
    said = capfd.readouterr().out
    assert "needs images     toy small bad-0" in said
    assert "finished         toy small good-0" in said
    assert "3 of 5 cells are open, 0.1 core-hours" in said


def test_a_part_of_the_list(study: Path, monkeypatch: pytest.MonkeyPatch):
    parts = [cells.shared(list(cells.cells()), f"{i}/3") for i in (1, 2, 3)]
    assert sorted(cell.label for part in parts for cell in part) == sorted(cell.label for cell in cells.cells())
    assert "--share 4/3: a part of so many is needed" in str(call(monkeypatch, "runs", "--share", "4/3"))


@pytest.mark.parametrize("study", cells.STUDIES, ids=lambda study: f"{study.name} {study.setting}")
def test_the_list_names_arms_and_settings_that_there_are(study: Study):
    script = import_module(f"experiments.{study.name}.study")
    assert not study.setting or study.setting in script.SETTINGS
    own = getattr(script.SETTINGS[study.setting], "arms", ()) if study.setting else ()
    assert set(study.arms) <= set(own or script.ARMS)
