"""Every example is short and runs as its reader would run it."""

from __future__ import annotations

import re
import runpy
import sys
from contextlib import chdir, redirect_stdout
from io import StringIO
from pathlib import Path
from tempfile import TemporaryDirectory
from unittest.mock import patch

import pytest

from tests.conftest import ROOT

EXAMPLES = sorted((ROOT / "examples").glob("*.py"))


def output(example: Path) -> str:
    """What an example prints, run as a script; given no folder, it must leave nothing."""
    printed = StringIO()
    with (
        TemporaryDirectory() as folder,
        chdir(folder),
        redirect_stdout(printed),
        patch.object(sys, "argv", [str(example)]),
    ):
        runpy.run_path(str(example), run_name="__main__")
        assert not list(Path(folder).iterdir())
    return printed.getvalue()


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.name)
def test_examples_are_numbered_and_short(example: Path):
    assert re.fullmatch(r"\d\d_\w+\.py", example.name)
    assert len(example.read_text().splitlines()) <= 80


@pytest.mark.parametrize("example", EXAMPLES[1:], ids=lambda path: path.name)
def test_examples_run(example: Path):
    assert output(example)


def test_adapting_repairs_what_corruptions_break():
    rows = re.findall(r"^(\w+) +(\d) +([\d.]+)% +([\d.]+)%$", output(EXAMPLES[0]), re.MULTILINE)
    assert len(rows) == 1 + 4 * 5
    before, after = ({(name, severity): float(row[i]) for name, severity, *row in rows} for i in (0, 1))
    assert before["clean", "0"] > 95
    assert after["clean", "0"] > before["clean", "0"] - 1
    assert sum(after.values()) > sum(before.values()) + 21 * 10
