"""``renorm evaluate``: stopped and started again, what it prints, and what it refuses before it takes its time."""

import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from renorm.evaluate import read_results, table
from renorm.models import create
from renorm.shifts import Shift
from tests.cli.conftest import Command, some_classes

FEW = ("--num-images", "40", "--banks", "weak", "strong")


@pytest.fixture
def run(trained: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(trained, tmp_path / "run"))


def stopped_at(monkeypatch: pytest.MonkeyPatch, label: str) -> list[str]:
    """Make Ctrl-C arrive at a shift; labels of the shifts that were begun."""
    begun: list[str] = []
    original = table.evaluate_shift

    def evaluate_shift(classifier: Any, images: Any, choices: Any, shift: Shift, *rest: Any) -> Any:
        begun.append(shift.label)
        if shift.label == label:
            raise KeyboardInterrupt
        return original(classifier, images, choices, shift, *rest)

    monkeypatch.setattr(table, "evaluate_shift", evaluate_shift)
    return begun


def test_ctrl_c_loses_no_shift(renorm_command: Command, run: Path, tmp_path: Path):
    options = (*FEW, "--shifts", "clean", "contrast", "--seed", "1")
    before = (run / "results.csv").read_bytes()
    with pytest.MonkeyPatch.context() as monkeypatch:
        stopped_at(monkeypatch, "contrast 3")
        result = renorm_command("evaluate", run, *options)
    assert result.status == 130
    assert "interrupted" in result.err
    said = " ".join(result.out.split())  # lines are wrapped
    assert re.search(r"results.csv was made otherwise \(other seed: 0, now 1\): it is kept as .*results.1.csv", said)
    assert (run / "results.1.csv").read_bytes() == before
    assert read_results(run / "results.csv").missing == ("contrast 3", "contrast 4", "contrast 5")
    with pytest.MonkeyPatch.context() as monkeypatch:
        begun = stopped_at(monkeypatch, "none")
        assert renorm_command("evaluate", run, *options[:-1], "2", "--out", run / "other.csv").status == 0
        assert len(begun) == 6  # another seed takes nothing of it
        begun.clear()
        again = renorm_command("evaluate", run, *options)
        assert again.status == 0, again.err
        assert "adding to" in again.out
        assert begun == ["contrast 3", "contrast 4", "contrast 5"]
    whole = renorm_command("evaluate", run, *options, "--out", tmp_path / "whole.csv")
    assert whole.status == 0, whole.err
    assert read_results(run / "results.csv").rows == read_results(tmp_path / "whole.csv").rows


def test_the_means_are_printed(renorm_command: Command, run: Path, tmp_path: Path):
    result = renorm_command("evaluate", run, *FEW, "--shifts", "clean", "contrast", "gaussian_noise:5")
    assert result.status == 0, result.err
    assert "7 shifts" in result.out
    assert "severities for 32 pixels" in result.out
    assert re.search(r"mean of 2 corruptions\s+\d+\.\d ±\d+\.\d\s+\d+\.\d ±\d+\.\d", result.out)
    assert "mCE" not in result.out
    clean = renorm_command("evaluate", run, *FEW, "--shifts", "clean", "--out", tmp_path / "clean.csv")
    assert "mean of" not in clean.out


def test_a_table_says_its_protocol(renorm_command: Command, run: Path):
    options = ("--shifts", "contrast:2", "--scale", "64", "--rounding", "none", "--seed", "3")
    assert renorm_command("evaluate", run, *FEW, *options, "--out", run / "t.csv").status == 0
    protocol = read_results(run / "t.csv").protocol
    assert (protocol.scale, protocol.rounding, protocol.seed, protocol.model) == (64, "none", 3, str(run))
    assert protocol.data is not None
    assert (protocol.data.name, protocol.data.images) == ("digits", 40)
    assert protocol.banks == {"weak": "of the model", "strong": "of the model"}


@pytest.fixture
def weights(tmp_path: Path) -> tuple[str, ...]:
    save_file(create("resnet8").state_dict(), tmp_path / "w.safetensors")
    return ("resnet8", "--weights", str(tmp_path / "w.safetensors"), "--mean", *["0.5"] * 3, "--std", *["0.25"] * 3)


def parquet(path: Path) -> Path:
    """Thirty images of ten classes and three domains."""
    import io

    import pyarrow as pa
    import pyarrow.parquet as pq
    from PIL import Image

    def png(i: int) -> bytes:
        buffer = io.BytesIO()
        pixels = torch.randint(256, (16, 16, 3), generator=torch.Generator().manual_seed(i), dtype=torch.uint8)
        Image.fromarray(pixels.numpy()).save(buffer, "PNG")
        return buffer.getvalue()

    image = [{"bytes": png(i), "path": f"{i}.png"} for i in range(30)]
    domain = [("art", "photo", "sketch")[i % 3] for i in range(30)]
    pq.write_table(pa.table({"image": image, "label": [i % 10 for i in range(30)], "domain": domain}), path)
    return path


def test_domains_are_shifts(renorm_command: Command, weights: tuple[str, ...], tmp_path: Path):
    data = parquet(tmp_path / "domains.parquet")
    options = ("--data", data, "--shifts", "domains", "contrast:2", "--out", "t.csv")
    result = renorm_command("evaluate", *weights, *options)
    assert result.status == 0, result.err
    rows = read_results(tmp_path / "t.csv").only()
    assert [(row.shift, row.count) for row in rows] == [("art", 10), ("photo", 10), ("sketch", 10), ("contrast", 30)]
    assert {row.bank for row in rows} == {"source"}
    result = renorm_command(
        "evaluate", *weights, "--data", data, "--shifts", "sketch", "--adapt", "10", "--out", "t.csv"
    )
    assert result.status == 0, result.err
    assert [(row.bank, row.shift) for row in read_results(tmp_path / "t.csv").only()] == [
        ("source", "sketch"),
        ("adapted", "sketch"),
    ]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--out", "t.safetensors"], r"cannot be written as t.safetensors: a name that ends in .csv.*Call it t.csv"),
        (["--alexnet", "cifar11"], r"no errors of AlexNet were published for 'cifar11'.*Did you mean 'cifar10'"),
        (
            ["--alexnet", "cifar10", "--shifts", "contrast"],
            r"gaussian_noise 1, .*are not among the shifts.*Add --shifts standard",
        ),
        (["--shifts", "domains"], r"digits has no domains: a Parquet file with a column 'domain' is needed"),
        (["--shifts", "contrast", "contrast:2"], r"shifts with contrast 2 twice.*a file for each"),
        (["--shifts", "no/folder"], r"nothing at no/folder.*is needed.*Check the path"),
        (["--adapt", "-1"], r"--adapt -1: a number of images is needed. Name one, or leave it out"),
        (["--num-images", "-3"], r"--num-images -3: a number of images is needed"),
        (["--prior", "64"], r"--prior 64(.0)? without --adapt: no bank is adapted. Add --adapt 32, or leave it out"),
        (
            ["--train", "digits", "--banks", "weak"],
            r"--train digits with the banks weak: none is measured.*--banks clean@BRANCH",
        ),
        (
            ["--shifts", "clean", "--eps", "4/255"],
            r"--eps with the shifts clean: it would do nothing.*an attack, as pgd:10",
        ),
        (["--shifts", "clean", "--scale", "64"], r"--scale with the shifts clean: .*a corruption, as quick"),
        (["--shifts", "weak", "--rounding", "none"], r"--rounding with the shifts weak: .*Leave it out"),
        (["--adapt", "451"], r"cannot adapt to 451 images under clean, which has 450.*Adapt to fewer"),
    ],
)
def test_what_cannot_be_is_refused_at_once(
    renorm_command: Command, run: Path, monkeypatch: pytest.MonkeyPatch, options: list[str], message: str
):
    begun = stopped_at(monkeypatch, "none")
    result = renorm_command("evaluate", run, *options)
    assert result.status == 1
    assert re.search(message, result.err, re.DOTALL), result.err
    assert len(begun) <= 1
    assert not (run / "results.1.csv").exists()


def test_data_of_some_classes_are_a_shift(renorm_command: Command, run: Path, tmp_path: Path):
    folder = some_classes(tmp_path / "some")
    result = renorm_command("evaluate", run, "--data", folder, "--shifts", "clean", "--banks", "weak")
    assert result.status == 1
    assert re.search(
        r"3 classes and the model 10 outputs: both must be the same.*as a shift.*--shifts FOLDER", result.err
    )
    shifts = ("--shifts", "clean", folder)
    assert (
        renorm_command("evaluate", run, "--banks", "weak", "--num-images", "40", *shifts, "--out", "t.csv").status == 0
    )
    compared = renorm_command("compare", "t.csv", "t.csv", "--shifts", "some")
    assert "over 9 images" in compared.out
    assert "over 9 to 40 images" in renorm_command("compare", "t.csv", "t.csv").out


def test_a_run_is_evaluated_where_its_own_images_are_gone(renorm_command: Command, photos: Path, tmp_path: Path):
    options = ("--model", "resnet8", "--epochs", "1", "--batch", "16", "--table-images", "0", "--out", "run")
    assert renorm_command("train", "--data", photos, *options).status == 0
    elsewhere = photos.rename(tmp_path / "moved")
    evaluate = ("evaluate", "run", "--shifts", "clean", "--data", elsewhere)
    assert renorm_command(*evaluate, "--banks", "weak").status == 0
    assert renorm_command(*evaluate, "--banks", "clean@weak", "--train", elsewhere).status == 0
    assert renorm_command("evaluate", "run", "--shifts", elsewhere, "--banks", "weak").status == 0
    for more in ((), ("--banks", "clean@weak")):
        result = renorm_command(*evaluate, *more)
        assert result.status == 1
        assert re.search(r"nothing at .*photos.*trained with: name others by --data and --train, or banks", result.err)


@pytest.mark.slow
def test_processes_of_torchrun_share_an_evaluation(renorm_command: Command, run: Path, tmp_path: Path):
    options = [*FEW, "--shifts", "clean", "contrast:1", "contrast:5"]
    assert renorm_command("evaluate", run, *options, "--out", tmp_path / "one.csv").status == 0
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m", "renorm"]
    two = subprocess.run(
        [*launch, "evaluate", run, *options, "--out", tmp_path / "two.csv"], capture_output=True, text=True, check=False
    )
    assert two.returncode == 0, two.stderr
    assert two.stdout.count("bank x shift") == 1
    one, other = (read_results(tmp_path / name) for name in ("one.csv", "two.csv"))
    assert one.rows == other.rows
    assert one.protocol.pixels("contrast", 5) == other.protocol.pixels("contrast", 5)
    assert all(torch.equal(hits, other.hits[cell]) for cell, hits in one.hits.items())
    assert not list(tmp_path.glob(".*"))
