import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch.testing import assert_close

import renorm
from renorm.evaluate import Choice, logits, read_results
from renorm.models import create
from renorm.recipes import open_file, open_run
from tests.cli.conftest import TRAIN, Command


def test_a_run_is_the_folder_it_should_be(trained: Path):
    names = {str(path.relative_to(trained)) for path in trained.rglob("*") if path.is_file()}
    assert names == {
        "config.json",
        "metrics.jsonl",
        "checkpoint/step-00000010/model.safetensors",
        "checkpoint/step-00000010/state.pt",
        "banks/weak.safetensors",
        "banks/strong.safetensors",
        "results.csv",
        "results.safetensors",
        "report.html",
    }
    config = json.loads((trained / "config.json").read_text())
    assert config["config"]["network"]["model"] == "resnet8"
    assert {row.bank for row in read_results(trained / "results.csv").rows} >= {
        "weak",
        "strong",
        "clean@weak",
        "clean@strong",
    }
    state = trained / "checkpoint/step-00000010/state.pt"
    assert set(torch.load(state, weights_only=True)) == {"format", "optimizers", "progress", "random"}


def test_banks_of_a_run_are_its_branches(trained: Path):
    named = open_run(trained)
    own = renorm.Bank.of(named.classifier.model, branch="strong")
    loaded = renorm.Bank.load(trained / "banks" / "strong.safetensors")
    assert loaded.branch == "strong"
    assert max(own.distance(loaded).values()) == 0


def test_resuming_a_finished_run_changes_nothing(renorm_command: Command, trained: Path, tmp_path: Path):
    folder = shutil.copytree(trained, tmp_path / "run")
    result = renorm_command("train", "--out", folder, "--resume")
    assert result.status == 0, result.err
    for name in ("metrics.jsonl", "results.csv"):  # of as many images as it was started with
        assert (folder / name).read_bytes() == (trained / name).read_bytes()


def test_evaluate_takes_banks_shifts_and_adaptation(renorm_command: Command, trained: Path, tmp_path: Path):
    bank = trained / "banks" / "strong.safetensors"
    names = ["weak", "weak:0.3+strong:0.7", bank]
    options = [
        "--shifts",
        "clean",
        "contrast:5",
        "--adapt",
        "16",
        "--num-images",
        "40",
        "--out",
        tmp_path / "table.csv",
    ]
    result = renorm_command("evaluate", trained, "--banks", *names, *options)
    assert result.status == 0, result.err
    rows = read_results(tmp_path / "table.csv").rows
    assert {row.bank for row in rows} == {*map(str, names), "adapted@weak", "adapted@strong"}
    assert {(row.shift, row.severity) for row in rows} == {("clean", 0), ("contrast", 5)}
    assert {row.count for row in rows} == {40}
    assert "bank x shift" in result.out


def test_adapt_shows_what_moved_and_writes_a_bank_and_a_plain_model(
    renorm_command: Command, trained: Path, tmp_path: Path, photos: Path
):
    options = ["--branch", "weak", "--bank", tmp_path / "b.safetensors", "--fold", tmp_path / "f.safetensors"]
    result = renorm_command("adapt", trained, "--images", photos, "--num-images", "24", "--prior", "64", *options)
    assert result.status == 0, result.err
    assert "layer3.0.bn2" in result.out
    assert "a weight of 0.727" in result.out
    assert re.search(r"16 other images(?:.*\n)+\s+accuracy before .*\]\n.* after .*\]\n\s+change .*points", result.out)
    assert renorm.Bank.load(tmp_path / "b.safetensors").branch == "weak"
    folded = open_file(tmp_path / "f.safetensors")
    assert folded.classifier.branches == ()
    adapted = renorm.Bank.load(tmp_path / "b.safetensors")
    assert max(renorm.Bank.of(folded.classifier.model).distance(adapted).values()) == 0


def test_fold_is_the_branch(renorm_command: Command, trained: Path, tmp_path: Path):
    result = renorm_command("fold", trained, "--branch", "strong", "--out", tmp_path / "f.safetensors")
    assert result.status == 0, result.err
    named, folded = open_run(trained), open_file(tmp_path / "f.safetensors")
    images = named.images("digits").subset(range(20))
    expected = logits(named.classifier, images, {"it": Choice("strong")})["it"]
    assert_close(logits(folded.classifier, images, {"it": Choice()})["it"], expected, rtol=1e-5, atol=1e-5)
    plain = create("resnet8")
    plain.load_state_dict(load_file(tmp_path / "f.safetensors"))


def test_recalibrate_is_measure(renorm_command: Command, trained: Path, tmp_path: Path):
    options = ["--branch", "weak", "--bank", tmp_path / "b.safetensors", "--num-images", "128"]
    result = renorm_command("recalibrate", trained, "--images", "digits", *options)
    assert result.status == 0, result.err
    named = open_run(trained)
    images = renorm.data.sample(named.images("digits", "train"), 128)
    x = named.classifier.normalize(images.batch(range(128))[0])
    expected = renorm.measure(named.classifier.model, [x], branch="weak")
    assert max(expected.distance(renorm.Bank.load(tmp_path / "b.safetensors")).values()) < 1e-5


def test_a_plain_model_with_weights_is_adapted_and_evaluated(renorm_command: Command, tmp_path: Path, photos: Path):
    save_file(create("resnet8").state_dict(), tmp_path / "w.safetensors")
    weights = ["--weights", tmp_path / "w.safetensors", "--mean", *[0.5] * 3, "--std", *[0.25] * 3]
    result = renorm_command("adapt", "resnet8", "--images", photos, *weights)
    assert result.status == 0, result.err
    shifts = ["--shifts", "clean", "--adapt", "16"]
    result = renorm_command("evaluate", "resnet8", "--data", photos, *weights, *shifts, "--out", "t.csv")
    assert result.status == 0, result.err
    assert read_results(tmp_path / "t.csv").banks == ["source", "adapted"]


def test_unlabelled_images_are_enough_to_adapt(renorm_command: Command, trained: Path, tmp_path: Path, photos: Path):
    flat = tmp_path / "flat"
    flat.mkdir()
    for path in photos.rglob("*.png"):
        shutil.copy(path, flat / f"{path.parent.name}-{path.name}")
    result = renorm_command("adapt", trained, "--images", flat, "--branch", "strong")
    assert result.status == 0, result.err
    assert "no accuracy: " in result.out
    assert "has images without a label" in result.out


def test_report_writes_the_page_again(renorm_command: Command, trained: Path, tmp_path: Path):
    folder = shutil.copytree(trained, tmp_path / "run")
    (folder / "report.html").unlink()
    result = renorm_command("report", folder)
    assert result.status == 0, result.err
    assert "gaussian noise" in result.out
    assert "resnet8 on digits" in (folder / "report.html").read_text()


def test_a_shared_run_has_one_bank(renorm_command: Command, tmp_path: Path):
    result = renorm_command(*TRAIN, "--norm", "shared", "--out", tmp_path / "run", "--table-images", "40")
    assert result.status == 0, result.err
    assert {row.bank for row in read_results(tmp_path / "run" / "results.csv").rows} == {"source"}
    assert (tmp_path / "run" / "banks" / "source.safetensors").exists()


def test_help_loads_no_heavy_library():
    code = (
        "import sys, renorm.cli\n"
        "try: renorm.cli.main(['--help'])\n"
        "except SystemExit: pass\n"
        "heavy = {'torchvision', 'sklearn', 'timm', 'accelerate', 'torchmetrics', 'pyarrow', 'PIL'}\n"
        "print(sorted(heavy & set(sys.modules)))"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip().endswith("[]")
    assert all(
        name in run.stdout
        for name in ("demo", "train", "evaluate", "adapt", "show", "recalibrate", "fold", "export", "report")
    )


@pytest.mark.slow
def test_the_demo_tells_the_whole_story(renorm_command: Command, tmp_path: Path):
    threads = torch.get_num_threads()
    try:
        result = renorm_command("demo", "--out", tmp_path / "demo")
    finally:
        torch.set_num_threads(threads)
    assert result.status == 0, result.err
    change = re.search(r"change\s+\+(\d+\.\d)", result.out)
    assert change
    assert float(change[1]) > 2  # of a network that few digits have trained
    assert "exported model" in result.out
    assert (tmp_path / "demo" / "run" / "report.html").exists()
    assert (tmp_path / "demo" / "plain.pt2").exists()
    assert renorm_command("demo", "--out", tmp_path).status == 1
