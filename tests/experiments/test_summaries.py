"""The tables that studies print from their committed results, as they were.

After a study has gone on: ``python -m tests.experiments.test_summaries`` writes the texts again.
"""

from __future__ import annotations

import runpy
import sys
from contextlib import ExitStack, redirect_stdout
from io import StringIO
from pathlib import Path
from unittest import mock

import pytest
from matplotlib import pyplot as plt
from matplotlib.figure import Figure

from tests.conftest import ROOT

TEXTS = Path(__file__).parent / "summaries"
RESULTS = sorted(path for path in ROOT.glob("experiments/*/results/*") if path.is_dir())


def printed(results: Path) -> str:
    """What the summary of a study prints; it draws nothing."""
    summary = results.parents[1] / "summary.py"
    found = StringIO()
    with ExitStack() as stack:
        stack.enter_context(redirect_stdout(found))
        stack.enter_context(mock.patch.object(sys, "argv", [str(summary), results.name]))
        stack.enter_context(mock.patch.object(sys, "path", list(sys.path)))
        stack.enter_context(mock.patch.object(Figure, "savefig"))
        runpy.run_path(str(summary), run_name="__main__")
    plt.close("all")
    return found.getvalue()


def text_of(results: Path) -> Path:
    return TEXTS / f"{results.parents[1].name}-{results.name}.md"


@pytest.mark.parametrize("results", RESULTS, ids=lambda path: text_of(path).stem)
def test_a_summary_prints_the_tables_it_printed(results: Path):
    assert printed(results) == text_of(results).read_text()


def test_every_text_is_of_a_study():
    assert sorted(TEXTS.iterdir()) == sorted(map(text_of, RESULTS))


def test_another_accuracy_is_another_table(tmp_path: Path):
    study = tmp_path / "experiments" / "exchange"
    results = study / "results" / "digits"
    results.mkdir(parents=True)
    there = ROOT / "experiments" / "exchange"
    (study / "summary.py").write_text((there / "summary.py").read_text())
    for table in (there / "results" / "digits").glob("*.csv"):
        (results / table.name).write_text(table.read_text())
    assert printed(results) == text_of(results).read_text()
    text = (results / "plain-0.csv").read_text()
    (results / "plain-0.csv").write_text(text.replace("clean,0,0.9", "clean,0,0.8"))
    assert printed(results) != text_of(results).read_text()


if __name__ == "__main__":
    for each in RESULTS:
        text_of(each).write_text(printed(each))
