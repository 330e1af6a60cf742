"""``renorm train-style``, and what the commands on any run do with what it trained."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from renorm.cli import main
from renorm.evaluate import read_results
from renorm.models import Stylizer
from renorm.recipes import open_run
from tests.cli.conftest import Command
from tests.recipes.stylize.networks import files

OPTIONS = "--contents contents --styles styles --encoder encoder0.safetensors --decoder decoder0.safetensors --affine"
STEPS = "--steps 4 --each 2 --batch 2 --size 24 --crop 16 --rate 1e-2 --holdout 0.4"


def pictures(folder: Path, number: int) -> None:
    folder.mkdir(parents=True)
    for i in range(number):
        pixels = np.random.default_rng(i).integers(0, 256, (20, 28, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{i}.png")


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with pictures, networks and a run of four steps."""
    folder = tmp_path_factory.mktemp("style")
    files(folder)
    pictures(folder / "contents", 6)
    pictures(folder / "styles", 5)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        assert main(["train-style", *OPTIONS.split(), *STEPS.split(), "--out", "run", "--quiet"]) == 0
    return folder


@pytest.fixture
def here(run: Path, tmp_path: Path, renorm_command: Command) -> Path:
    """A copy to write into, where commands are typed."""
    return shutil.copytree(run, tmp_path, dirs_exist_ok=True)


def test_a_run_has_its_encoder_its_table_and_its_page(run: Path):
    about = json.loads((run / "run" / "config.json").read_text())
    assert (about["format"], about["recipe"]) == (1, "stylize")
    rows = read_results(run / "run" / "results.csv").rows
    assert {row.bank for row in rows} == {"trained", "without affine"}
    assert {row.measure for row in rows} == {"style", "content", "own target", "features"}
    assert {row.count for row in rows} == {2}
    page = (run / "run" / "report.html").read_text()
    for words in (
        "Held-out pairs",
        "Training",
        "The shared affine",
        "What each bank is worth",
        "sandwich, detached target",
    ):
        assert words in page
    assert page.count("data:image/jpeg") == 3
    opened, loaded = open_run(run / "run").net, Stylizer.load(run / "run")
    assert opened.weight is not None
    assert all(torch.equal(a, b) for a, b in zip(opened.parameters(), loaded.parameters(), strict=True))
    with pytest.raises(ValueError, match="has no checkpoint of a style network"):
        Stylizer.load(run / "styles")


def test_a_run_needs_nothing_else_to_stylize(here: Path, renorm_command: Command):
    for name in ("encoder0.safetensors", "decoder0.safetensors"):
        (here / name).unlink()
    result = renorm_command("stylize", "run", "--content", "contents/0.png", "--style", "styles", "--out", "out.png")
    assert result.status == 0, result.err
    assert renorm_command("style", "run", "--pictures", "styles", "--out", "style.safetensors").status == 0
    again = renorm_command(
        "stylize", "run", "--content", "contents/0.png", "--style", "style.safetensors", "--out", "b.png"
    )
    assert again.status == 0, again.err
    assert (here / "out.png").read_bytes() == (here / "b.png").read_bytes()
    wrong = renorm_command("stylize", "run", "--decoder", "d.pth", "--content", "a", "--style", "b", "--out", "c")
    assert "--decoder d.pth with run, a run, which has its own" in wrong.err


def test_the_commands_on_any_run(here: Path, renorm_command: Command):
    result = renorm_command("evaluate", "run", "--num-images", 1, "--out", "table.csv", "--json")
    assert result.status == 0, result.err
    assert {row["count"] for row in json.loads(result.out)["rows"]} == {1}
    assert renorm_command("report", "run").status == 0
    exported = renorm_command("export", "run", "--out", "net.pt2")
    assert exported.status == 0, exported.err
    assert "float32 images (batch, 3, height, width) in 0 to 1, sides multiples of 8 from 16 on" in exported.out
    compared = renorm_command("compare", "run", "run", "--banks", "trained", "without affine", "--json")
    assert compared.status == 0, compared.err
    assert renorm_command("evaluate", "run", "--banks", "other").err.startswith("renorm: no bank 'other'")
    assert "--adapt" in renorm_command("evaluate", "run", "--adapt", "8").err


def test_resuming(here: Path, renorm_command: Command):
    result = renorm_command("train-style", "--out", "run", "--resume", "--rate", "0.5")
    assert "--resume with other options than run was started with: rate " in result.err
    before = (here / "run" / "metrics.jsonl").read_text()
    result = renorm_command("train-style", "--out", "run", "--resume")
    assert result.status == 0, result.err
    assert (here / "run" / "metrics.jsonl").read_text() == before


def test_the_page_says_where_pictures_have_moved(here: Path, renorm_command: Command):
    about = json.loads((here / "run" / "config.json").read_text())
    about["config"]["contents"] = str(here / "gone")
    (here / "run" / "config.json").write_text(json.dumps(about))
    result = renorm_command("report", "run")
    assert result.status == 0, result.err
    assert f"Not shown: there is nothing at {here / 'gone'}" in (here / "run" / "report.html").read_text()


def test_from_torchvisions_weights_by_reconstruction(here: Path, renorm_command: Command):
    """The path without published files: what torchvision downloads, normalized on the contents, and a decoder from scratch."""
    torch.manual_seed(0)
    widths, tensors, before = (2, 2, 3, 3, 4, 4, 4, 4, 6), {}, 3
    for place, width in zip((0, 2, 5, 7, 10, 12, 14, 16, 19), widths, strict=True):
        tensors[f"features.{place}.weight"] = torch.randn(width, before, 3, 3)
        tensors[f"features.{place}.bias"] = torch.rand(width)
        before = width
    torch.save(tensors, here / "vgg19.pth")
    options = "--contents contents --styles styles --encoder vgg19.pth --reconstruct 2"
    result = renorm_command("train-style", *options.split(), *STEPS.split(), "--out", "own", "--json")
    assert result.status == 0, result.err
    first, last = json.loads(result.out)["epochs"]
    assert "reconstruction" in first
    assert "content" in last
    assert re.search(r"epoch 1/2 .* reconstruction \d+\.\d+", result.err)
    assert "own target" in (here / "own" / "results.csv").read_text()


def test_what_cannot_be_trained_says_so(here: Path, renorm_command: Command):
    assert "no contents were named" in renorm_command("train-style").err
    wrong = renorm_command("train-style", *OPTIONS.split(), "--size", "24", "--crop", "20", "--out", "x")
    assert "a crop of 20 from pictures of 24" in wrong.err
    assert not (here / "x").exists()
    assert "is a run of the recipe" in renorm_command("train", "--out", "run", "--resume").err
