"""Every example is short and runs as its reader would run it."""

from __future__ import annotations

import re
import subprocess
import sys
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from tests.conftest import ROOT

EXAMPLES = sorted((ROOT / "examples").glob("*.py"))


@cache
def output(example: Path) -> str:
    """What an example prints; given no folder, it must leave nothing."""
    with TemporaryDirectory() as folder:
        command = [sys.executable, "-W", "error", str(example)]
        finished = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
        assert finished.returncode == 0, finished.stderr
        assert not list(Path(folder).iterdir())
    return finished.stdout


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.name)
def test_examples_are_numbered_short_and_run(example: Path):
    assert re.fullmatch(r"\d\d_\w+\.py", example.name)
    assert len(example.read_text().splitlines()) <= 80
    assert output(example)


def test_adapting_repairs_what_corruptions_break():
    rows = re.findall(r"^(\w+) +(\d) +([\d.]+)% +([\d.]+)%$", output(EXAMPLES[0]), re.MULTILINE)
    assert len(rows) == 1 + 4 * 5
    before, after = ({(name, severity): float(row[i]) for name, severity, *row in rows} for i in (0, 1))
    assert before["clean", "0"] > 95
    assert after["clean", "0"] > before["clean", "0"] - 1
    assert sum(after.values()) > sum(before.values()) + 21 * 10
