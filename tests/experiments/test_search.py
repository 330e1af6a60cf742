"""The study of searches runs an arm of either kind on a few digits, keeps its table, and its summary reads it."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from experiments.search import study, summary
from tests.data.test_nasbench201 import columns, written


def run(monkeypatch: pytest.MonkeyPatch, folder: Path, setting: str, *more: str) -> Path:
    table = folder / "table.csv"
    if not table.exists():
        written(table, columns())
    given = [
        setting,
        str(folder / setting),
        "--data",
        "digits",
        "--table",
        str(table),
        "--out",
        str(folder / "results"),
    ]
    monkeypatch.setattr(sys, "argv", ["study.py", *given, "--seeds", "0", "--arms", "affine", *more])
    study.main()
    return folder / "results" / setting / "affine-0.csv"


@pytest.mark.slow
def test_arms_are_kept_and_summed_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    path = run(monkeypatch, tmp_path, "collapse", "--steps", "12")
    lines = path.read_text().splitlines()
    assert lines[0].startswith("step,free_edges,skips,entropy,accuracy,percentile,cell")
    assert [line.split(",")[0] for line in lines[1:]] == ["12"]
    ranked = run(monkeypatch, tmp_path, "ranking", "--steps", "90", "--cells", "100", "--images", "100")
    assert ranked.read_text().startswith("cell,truth,params,trained,recalibrated,batch,recalibrated:16")
    assert len(ranked.read_text().splitlines()) == 101
    before = ranked.stat().st_mtime_ns
    run(monkeypatch, tmp_path, "ranking")  # what is there is not made again
    assert ranked.stat().st_mtime_ns == before
    monkeypatch.setattr(summary, "RESULTS", tmp_path / "results")
    capsys.readouterr()
    for setting, expected in (("collapse", "| affine, 0 | 12 |"), ("ranking", "| affine, 0 | recalibrated:64 |")):
        monkeypatch.setattr(sys, "argv", ["summary.py", setting])
        summary.main()
        assert expected in capsys.readouterr().out
