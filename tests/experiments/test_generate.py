"""The study of generators trains an arm for two steps, keeps its table, and its summary reads tables."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import pytest
from torch import nn

from experiments.generate import study, summary
from renorm.models import Classifier
from renorm.recipes.generate.features import Space
from tests.recipes.generate.test_sample import Shown

TINY = {"width": 2, "critic_width": 2, "latent": 4, "batch": 4, "generated": 4, "critic_steps": 1, "measured": 64}


def test_an_arm_of_the_study(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    net: nn.Module = Shown()
    digits = tuple(map(str, range(10)))
    net.head = nn.Linear(3, 10)
    monkeypatch.setattr(study, "train_own", lambda run, folder: None)
    monkeypatch.setattr(
        "renorm.recipes.generate.score.space_of",
        lambda run, name: Space("shown 0", Classifier(net, (0.5,) * 3, (0.5,) * 3, classes=digits, size=8), True),
    )
    monkeypatch.setitem(study.SETTINGS, "digits", replace(study.SETTINGS["digits"], **TINY))
    given = ["study.py", "digits", str(tmp_path / "runs"), "--out", str(tmp_path / "results"), "--steps", "2"]
    monkeypatch.setattr(sys, "argv", [*given, "--arms", "conditional-2x"])
    study.main()
    assert "conditional-2x-0.csv in" in capsys.readouterr().out
    study.main()
    assert capsys.readouterr().out == ""
    found = summary.read(tmp_path / "results" / "digits")
    assert {bank for _, bank, _ in found} == set(study.BANKS)
    assert [path.name for path in (tmp_path / "results" / "digits").iterdir()] == ["conditional-2x-0.csv"]
    monkeypatch.setattr(sys, "argv", ["summary.py", "digits", "--results", str(tmp_path / "results")])
    summary.main()
    assert "| conditional-2x (1) | recalibrated |" in capsys.readouterr().out


def test_differences_are_paired_by_seed():
    found = {
        ("sandwich", "recalibrated", "KID"): {0: 10.0, 1: 14.0, 2: 9.0},
        ("conditional", "recalibrated", "KID"): {0: 12.0, 1: 15.0},
        ("sandwich", "running", "KID"): {0: 30.0, 1: 31.0},
    }
    lines = summary.differences(found)
    assert lines[2].startswith("| sandwich | conditional | 2 | -1.5 [")
    assert lines[3].startswith("| running | recalibrated, all arms | 2 | +18.5 [")
    assert len(lines) == 4


def test_arms_differ_by_their_norms_alone():
    changed = {name for arm in study.ARMS.values() for name in arm}
    assert changed == {"norm", "table_factor"}
    assert study.SETTINGS["digits"].steps == 4000
