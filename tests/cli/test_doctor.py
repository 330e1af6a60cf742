"""renorm doctor, renorm predict and renorm show, of runs, files and networks by name."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from renorm.banks import Bank, Choice
from renorm.data import load
from renorm.evaluate import label_images
from renorm.extras import require
from renorm.models import create
from renorm.recipes import open_run
from tests.cli.conftest import Command


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    """Of a network that has never seen a batch."""
    torch.manual_seed(0)
    path = tmp_path / "w.safetensors"
    save_file(create("resnet8", num_classes=10).state_dict(), path)
    return path


def test_doctor_names_what_is_the_matter_and_the_line_to_type(renorm_command: Command, weights: Path):
    result = renorm_command("doctor", "resnet8", "--weights", weights)
    assert result.status == 0, result.err
    assert "norms: 7 BatchNorm2d" in result.out
    assert "measure, adapt_: see 7 sites" in result.out
    assert "warning: never updated (bn1, layer1.0.bn1, layer1.0.bn2 and 4 more)" in result.out
    line = next(line for line in result.out.splitlines() if "renorm recalibrate" in line).strip()
    assert line == f"renorm recalibrate resnet8 --weights {weights} --images FOLDER --bank FILE"
    again = line.replace("FOLDER", "digits").replace("FILE", "b.safetensors").split()[1:]
    assert renorm_command(*again, "--fold", "mended.safetensors").status == 0
    assert "never updated" not in renorm_command("doctor", "mended.safetensors").out


def test_doctor_of_a_run_with_images(renorm_command: Command, trained: Path):
    result = renorm_command("doctor", trained, "--images", "digits", "--branch", "weak", "--json")
    assert result.status == 0, result.err
    found = json.loads(result.out)
    assert found["branches"] == ["weak", "strong"]
    assert found["verbs"]["split_, sandwich_"] == "converted already, to the branches weak, strong"
    assert found["environment"]["torch"] == torch.__version__
    assert not [each for each in found["findings"] if each["gravity"] == "error"]


@pytest.mark.parametrize("option", ["--reference", "--num-images", "--branch"])
def test_doctor_refuses_options_that_need_images(renorm_command: Command, trained: Path, option: str):
    result = renorm_command("doctor", trained, option, "3")
    assert result.status == 1
    assert f"{option} without --images: it says how images are looked at. Add --images, or leave it out." in result.err


def of_csv(path: Path) -> list[dict[str, str]]:
    return list(csv.DictReader(path.read_text().splitlines()))


def of_parquet(path: Path) -> list[dict[str, str]]:
    return require("pyarrow.parquet").read_table(path).to_pylist()


@pytest.mark.parametrize(("name", "read"), [("p.csv", of_csv), ("p.parquet", of_parquet)])
def test_predict_says_what_each_image_is(
    renorm_command: Command, trained: Path, photos: Path, tmp_path: Path, name: str, read: Callable[[Path], list[dict]]
):
    result = renorm_command("predict", trained, "--images", photos, "--branch", "strong", "--out", name)
    assert result.status == 0, result.err
    rows = read(tmp_path / name)
    assert [row["path"] for row in rows[:2]] == ["0/0.png", "0/1.png"]
    assert len(rows) == 40
    classifier = open_run(trained).classifier
    images = load(photos, labels=False)
    expected = label_images(classifier, images, Choice("strong"))
    assert [row["class"] for row in rows] == list(expected.classes)
    assert [float(row["confidence"]) for row in rows] == pytest.approx(list(expected.confidences), abs=1e-6)
    other = label_images(classifier, images, Choice("weak"))
    assert list(other.confidences) != list(expected.confidences)


def test_predict_with_a_bank(renorm_command: Command, trained: Path, photos: Path, tmp_path: Path):
    command = ("predict", trained, "--images", photos, "--branch", "weak")
    assert renorm_command(*command, "--out", "a.csv").status == 0
    bank = trained / "banks" / "strong.safetensors"
    assert renorm_command(*command, "--bank", bank, "--out", "b.csv").status == 0
    assert (tmp_path / "a.csv").read_text() != (tmp_path / "b.csv").read_text()


def test_predictions_that_are_no_numbers_are_refused(
    renorm_command: Command, weights: Path, photos: Path, tmp_path: Path
):
    state = load_file(weights)
    state["linear.weight" if "linear.weight" in state else "fc.weight"][0] = torch.nan
    save_file(state, weights)
    (tmp_path / "p.csv").write_text("former")
    result = renorm_command("predict", "resnet8", "--weights", weights, "--images", photos, "--out", "p.csv")
    assert result.status == 1
    assert "ResNet gives logits that are no numbers" in result.err
    assert "are needed. Look for NaN" in result.err
    assert (tmp_path / "p.csv").read_text() == "former"
    wrong = renorm_command("predict", "resnet8", "--weights", weights, "--images", photos, "--out", "p.txt")
    assert "p.txt: predictions are written as .csv or .parquet. Change the name." in wrong.err


def test_show_says_what_a_run_a_bank_and_a_file_are(
    renorm_command: Command, trained: Path, weights: Path, tmp_path: Path
):
    run = renorm_command("show", trained)
    assert run.status == 0, run.err
    assert "a run of the recipe classify" in run.out
    assert "model resnet8" in run.out
    assert "strong, weak" in run.out
    file = json.loads(renorm_command("show", weights, "--json").out)["weights"]
    state = load_file(weights)
    assert file["tensors"].startswith(f"{len(state)}, {sum(t.numel() for t in state.values()):,} numbers, ")
    broken = {"model": {"a": torch.tensor([torch.nan])}, "epoch": 3}
    torch.save(broken, tmp_path / "c.pth")
    assert "model, not finite" in renorm_command("show", "c.pth").out
    assert "a bank: the statistics" in renorm_command("show", trained / "banks" / "weak.safetensors").out
    refused = renorm_command("show", weights, "--source", trained / "banks" / "weak.safetensors")
    assert refused.status == 1
    assert "which is no bank: it would do nothing. Leave it out." in refused.err
    nothing = renorm_command("show", "no.safetensors")
    assert nothing.status == 1
    assert "no.safetensors" in nothing.err


def test_recalibrating_by_the_difference_to_the_original(
    renorm_command: Command, weights: Path, photos: Path, tmp_path: Path
):
    torch.manual_seed(1)
    state = load_file(weights)
    for key in [key for key in state if key.endswith("running_mean")]:
        state[key] = torch.randn_like(state[key])
    save_file(state, weights)
    call = ("recalibrate", "resnet8", "--weights", weights, "--images", photos, "--split", "test")
    result = renorm_command(*call, "--original", weights, "--bank", "same.safetensors")
    assert result.status == 0, result.err
    source = {name: site.mean for name, site in Bank.load(tmp_path / "same.safetensors").sites.items()}
    assert all(torch.equal(mean, state[f"{name}.running_mean"]) for name, mean in source.items())
    halved = {key: value / 2 if key == "conv1.weight" else value for key, value in state.items()}
    save_file(halved, tmp_path / "half.safetensors")
    call = ("recalibrate", "resnet8", "--weights", "half.safetensors", "--images", photos, "--split", "test")
    assert renorm_command(*call, "--original", weights, "--bank", "half-bank.safetensors").status == 0
    found = Bank.load(tmp_path / "half-bank.safetensors").sites["bn1"]
    torch.testing.assert_close(found.mean, state["bn1.running_mean"] / 2, rtol=1e-3, atol=1e-3)
