"""``renorm report --gradients``: on the page of a run, and on that of several."""

import shutil
from pathlib import Path

import pytest

from renorm.report.sections.gradients import TITLE
from tests.cli.conftest import Command


@pytest.mark.usefixtures("drawn")
def test_gradients_are_on_the_page_if_asked_for(renorm_command: Command, trained: Path, tmp_path: Path):
    runs = [Path(shutil.copytree(trained, tmp_path / name)) for name in ("a", "b")]
    result = renorm_command("report", runs[0], "--gradients", "1", "--out", "one.html", "--no-table")
    assert result.status == 0, result.err
    one = (tmp_path / "one.html").read_text()
    assert TITLE in one
    assert "a mean over 1 step of" in one
    result = renorm_command("report", *runs, "--gradients", "1", "--out", "both.html", "--no-table", "--png", "png")
    assert result.status == 0, result.err
    both = (tmp_path / "both.html").read_text()
    assert TITLE in both
    assert "b: weak and strong" in both
    assert "Runs: a, b, each with its own seed." in both
    assert (tmp_path / "png" / "gradients-length.png").read_bytes().startswith(b"\x89PNG")
    assert (tmp_path / "png" / "gradients-cosine.png").exists()
    assert TITLE not in (trained / "report.html").read_text()
    wrong = renorm_command("report", runs[0], "--gradients", "-1")
    assert wrong.status == 1
    assert "--gradients -1: a number of steps is needed. Try 4" in wrong.err
