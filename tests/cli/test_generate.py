"""Commands that train generators, sample and evaluate them."""

from __future__ import annotations

import json
import re
from pathlib import Path

import onnx
import pytest
import torch

from renorm.data import load
from tests.cli.conftest import Command

SMALL = (
    "--width 4 --critic-width 4 --latent 4 --steps 2 --each 1 --batch 4 --generated 20 --critic-steps 1 --measured 40"
)
TRAIN = ["train-generator", "--data", "digits", *SMALL.split(), "--table-images", "0"]


@pytest.fixture(scope="module")
def generator(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that was hardly trained."""
    from renorm.cli import main

    folder = tmp_path_factory.mktemp("generator") / "run"
    assert main([*TRAIN, "--out", str(folder), "--quiet"]) == 0
    return folder


def test_training_tells_each_record_and_leaves_sheets(renorm_command: Command, tmp_path: Path):
    result = renorm_command(*TRAIN, "--out", tmp_path / "run")
    assert result.status == 0, result.err
    assert "sngan, sandwich norms, 2 steps, seed 0: 337 images of digits at 16 pixels, 10 classes, cpu" in result.out
    assert "the images are grey: they become three equal channels" in result.out
    lines = re.findall(r"epoch (\d)/2 +loss/discriminator \S+ +loss/generator \S+ .*images/s .* left", result.out)
    assert lines == ["1", "2"]
    assert {path.name for path in (tmp_path / "run" / "samples").iterdir()} == {"epoch-0001.png", "epoch-0002.png"}
    assert {path.name for path in (tmp_path / "run" / "banks").iterdir()} == {
        "recalibrated.safetensors",
        "running.safetensors",
    }
    again = renorm_command(*TRAIN[:3], "--resume", "--norm", "shared", "--out", tmp_path / "run")
    assert "was started with: norm 'shared' (the run has 'sandwich')" in again.err


def test_the_table_has_banks_real_images_and_a_page_with_sheets(
    renorm_command: Command, generator: Path, trained: Path
):
    banks = ["real", "recalibrated", "running", "batch:20", "truncated:1"]
    result = renorm_command(
        "evaluate", generator, "--features", trained, "--num-images", "40", "--banks", *banks, "--json"
    )
    assert result.status == 0, result.err
    rows = json.loads(result.out)["rows"]
    assert list(dict.fromkeys(row["bank"] for row in rows)) == banks
    kids = {row["bank"]: row for row in rows if re.fullmatch(r"KID\[resnet\S+ [0-9a-f]{6}, n=40\]", row["measure"])}
    assert kids.keys() == set(banks)
    assert all(row["low"] < row["value"] < row["high"] for row in kids.values())
    assert kids["real"]["value"] < kids["recalibrated"]["value"]
    page = (generator / "report.html").read_text()
    assert page.count("data:image/png;base64") == 4 + 2
    assert "A row for each class" in page
    compared = renorm_command("compare", generator, generator, "--banks", "recalibrated", "running")
    assert re.search(r"agreement\[\S+ \S+ n=40\] +0\.\d+ ", compared.out), compared.out + compared.err


def test_measured_statistics_are_a_file_that_pictures_are_made_with(
    renorm_command: Command, generator: Path, tmp_path: Path
):
    bank = tmp_path / "b.safetensors"
    result = renorm_command("recalibrate", generator, "--num-images", "60", "--seed", "3", "--bank", bank)
    assert result.status == 0, result.err
    assert "measured on 60 pictures of noise, seed 3" in result.out
    shown = renorm_command("show", bank)
    assert re.search(r"images +60", shown.out)
    made = renorm_command("sample", generator, "--bank", bank, "--out", tmp_path / "s.png")
    assert "those in" in made.out
    exported = renorm_command("export", generator, "--branch", "3", "--bank", bank, "--out", tmp_path / "three.onnx")
    assert exported.status == 0, exported.err
    assert "takes float32 noise (batch, 4) of a standard normal distribution" in exported.out
    (given,) = onnx.load(tmp_path / "three.onnx").graph.input
    assert given.name == "noise"


@pytest.mark.parametrize(("name", "options"), [("s.png", []), ("s.parquet", ["--num", "6"]), ("s", ["--num", "6"])])
def test_samples_are_a_sheet_a_table_or_a_folder(
    renorm_command: Command, generator: Path, tmp_path: Path, name: str, options: list[str]
):
    out = tmp_path / name
    result = renorm_command("sample", generator, "--classes", "3", "7", "--out", out, *options)
    assert result.status == 0, result.err
    assert "of 3, 7 by recalibrated" in result.out
    if name == "s.png":
        assert out.stat().st_size > 100
    else:
        images = load(out)
        assert [images.classes[label] for label in images.labels] == (
            ["3", "7"] * 3 if name == "s.parquet" else ["3"] * 3 + ["7"] * 3
        )


def test_the_same_seed_is_the_same_noise_for_one_class_as_for_all(
    renorm_command: Command, generator: Path, tmp_path: Path
):
    for name, seed in (("a", "0"), ("b", "0"), ("c", "1")):
        out = tmp_path / f"{name}.parquet"
        assert renorm_command("sample", generator, "--classes", "3", "--seed", seed, "--out", out).status == 0
    a, b, c = (load(tmp_path / f"{name}.parquet").pixels for name in "abc")
    assert torch.equal(torch.as_tensor(a), torch.as_tensor(b))
    assert not torch.equal(torch.as_tensor(a), torch.as_tensor(c))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["sample", "{run}", "--out", "o.jpg"], r"--out o.jpg: a name that ends in .png .* Call it o.png"),
        (["sample", "{run}", "--out", "o.png", "--classes", "cat"], r"no class 'cat': the generator has 0, 1, .* Name"),
        (["sample", "{run}", "--out", "o.png", "--num", "0"], r"--num 0: a number of pictures is needed. Name one"),
        (["sample", "{run}", "--out", "o.png", "--bank", "batch:1"], r"no bank 'batch:1': .* two pictures or more"),
        (["sample", "{run}", "--out", "o.png", "--bank", "batch:4"], r"batch:4 with 10 classes: .* Make it batch:10"),
        (["sample", "{run}", "--out", "o.png", "--truncation", "0"], r"no bank 'truncated:0': .* positive number"),
        (
            ["sample", "{run}", "--out", "o.png", "--truncation", "1", "--bank", "running"],
            r"--truncation 1 with --bank running: truncated noise has statistics of its own.* Leave one out",
        ),
        (["sample", "{classifier}", "--out", "o.png"], r"recipe 'classify': one of 'generate' is needed .*Name such a"),
        (["evaluate", "{run}", "--banks", "best"], r"no bank 'best': running, recalibrated, .* Name one"),
        (["evaluate", "{run}", "--num-images", "4"], r"4 images of digits on each side: 20 or more .* --num-images"),
        (["evaluate", "{run}", "--shifts", "fog"], r"--shifts with a run of the recipe 'generate'"),
        (
            ["recalibrate", "{run}", "--images", "digits", "--bank", "b.safetensors"],
            r"--images with .* Leave out all but",
        ),
        (["recalibrate", "{run}", "--bank", "b.safetensors", "--num-images", "4"], r"statistics of 4 pictures of 10"),
        (["recalibrate", "{classifier}", "--bank", "b.safetensors"], r"nothing to measure .* Add --images"),
        (["export", "{run}", "--out", "o.pt2"], r"no class given: .* Name it: --branch 0"),
        (["evaluate", "{classifier}", "--features", "own"], r"--features with a run of the recipe 'classify'"),
        (
            ["train-generator", "--data", "digits", "--size", "20", "--out", "o"],
            r"of 20 pixels was asked for. There are .* of 16 and 32 .* Choose one",
        ),
    ],
)
def test_what_cannot_be_is_refused(
    renorm_command: Command, generator: Path, trained: Path, arguments: list[str], message: str
):
    places = {"{run}": generator, "{classifier}": trained}
    result = renorm_command(*(places.get(word, word) for word in arguments))
    assert result.status == 1
    assert re.search(message, result.err, re.DOTALL), result.err
