"""``renorm report``: the page of a run with its pictures, several runs on one page, and what it refuses."""

import json
import re
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from renorm.data import Origin
from renorm.evaluate import read_results, write_results
from renorm.recipes import config_of, options_of
from tests.cli.conftest import TRAIN, Command


@pytest.fixture
def run(trained: Path, tmp_path: Path) -> Path:
    return copied(trained, tmp_path / "run")


def copied(trained: Path, folder: Path, **config: Any) -> Path:
    """A run that says it was trained with other options."""
    shutil.copytree(trained, folder)
    about = json.loads((folder / "config.json").read_text())
    about["config"] = options_of(config_of(about)) | config
    (folder / "config.json").write_text(json.dumps(about))
    return folder


def test_a_page_with_examples_and_pictures_for_a_paper(renorm_command: Command, run: Path, tmp_path: Path):
    result = renorm_command("report", run, "--out", "page.html", "--png", "png", "--no-table")
    assert result.status == 0, result.err
    assert "bank x shift" not in result.out
    text = (tmp_path / "page.html").read_text()
    assert text.count("data:image/jpeg;base64,") == 7
    assert "How far apart the banks are" in text
    names = {path.name for path in (tmp_path / "png").iterdir()}
    assert names == {
        "heat-map.png",
        "trade-off.png",
        "training-loss.png",
        "training-accuracy.png",
        "distances-weak-strong.png",
    }
    assert not (tmp_path / "run" / "png").exists()


def test_images_that_are_gone_are_said_to_be(renorm_command: Command, trained: Path, tmp_path: Path):
    moved = copied(trained, tmp_path / "moved")
    results = read_results(moved / "results.csv")
    assert results.protocol.data is not None
    data = replace(results.protocol.data, origin=Origin("x", "/no/where", "test"))
    write_results(moved / "results.csv", replace(results, protocol=replace(results.protocol, data=data)))
    assert renorm_command("report", moved).status == 0
    assert "are not where they were, or have changed" in (moved / "report.html").read_text()
    assert renorm_command("report", moved, "--data", "digits").status == 0
    assert "are not where they were" not in (moved / "report.html").read_text()
    result = renorm_command("report", moved, "--data", "nowhere")
    assert result.status == 1
    assert "nothing at nowhere" in result.err


def test_seeds_are_paired_on_one_page(renorm_command: Command, trained: Path, tmp_path: Path):
    """As they were trained: tables of all seeds are of the same images."""
    assert renorm_command(*TRAIN, "--seed", 1, "--table-images", 40, "--out", tmp_path / "other").status == 0
    seeds = (trained, tmp_path / "other")
    runs = [copied(seeds[s], tmp_path / f"{arm}-{s}", rate=r) for arm, r in (("a", 1), ("b", 2)) for s in (0, 1)]
    result = renorm_command("report", *runs, "--out", "page.html", "--png", "png", "--banks", "weak", "strong")
    assert result.status == 0, result.err
    assert re.search(
        r"b \(strong\) against a \(weak\): .*mean over the seeds 0 1, paired by seed", " ".join(result.out.split())
    )
    text = (tmp_path / "page.html").read_text()
    assert "b against a" in text
    with Image.open(tmp_path / "png" / "differences.png") as picture:
        assert picture.info["Description"].startswith("renorm")


def test_single_runs_are_paired_by_image(renorm_command: Command, trained: Path, tmp_path: Path):
    runs = [trained, copied(trained, tmp_path / "other", rate=2)]
    result = renorm_command("report", *runs, "--out", "page.html")
    assert result.status == 0, result.err
    assert "other (weak) against run (weak): +0.0 points on clean images" in result.out.replace("\n", " ")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], r"no run given: a page needs the folder.*Name one"),
        (["{run}", "{other}"], r"2 runs and no place for their page: it needs one. Add --out page.html"),
        (["{run}", "{run}", "--out", "p.html"], r"run is given twice.*Name it once"),
        (["{run}", "{other}", "--out", "p.html", "--data", "digits"], r"--data with several runs.*Leave it out"),
        (["{run}", "--banks", "weak"], r"--banks with a single run.*name the runs to compare"),
        (["{run}", "{unlike}", "--out", "p.html"], r"run and unlike cannot .*: .*differ in seed .*: 0 and 9.*same --seed"),
        (["{run}", "{other}", "--out", "p.html", "--banks", "wek"], r"run has no bank 'wek': one of weak, strong"),
        (["{none}"], r"no .*results.csv: a table bank x shift is needed. Make it with"),
        (["{columns}"], r"results.csv is not a table bank x shift.*columns .* are needed"),
    ],
)  # fmt: skip
def test_what_cannot_be_a_page(
    renorm_command: Command, trained: Path, tmp_path: Path, arguments: list[str], message: str
):
    folders = {
        name: copied(trained, tmp_path / name, rate=i)
        for i, name in enumerate(("run", "other", "unlike", "none", "columns"))
    }
    results = read_results(folders["unlike"] / "results.csv")
    unlike = replace(results, protocol=replace(results.protocol, seed=9))
    write_results(folders["unlike"] / "results.csv", unlike)
    (folders["none"] / "results.csv").unlink()
    (folders["columns"] / "results.csv").write_text("a,b\n1,2\n")
    before = (folders["run"] / "report.html").stat().st_mtime_ns
    result = renorm_command("report", *[each.format(**folders) for each in arguments])
    assert result.status == 1
    assert re.search(message, result.err, re.DOTALL), result.err
    assert not (tmp_path / "p.html").exists()
    assert (folders["run"] / "report.html").stat().st_mtime_ns == before
