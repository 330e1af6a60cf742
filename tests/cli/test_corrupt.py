"""``renorm corrupt`` as a user meets it; what it writes is tested with the library."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from renorm.cli.arguments import UsageError, parse
from renorm.shifts import read_shifts
from tests.cli.conftest import Command

SMALL = ("--corruptions", "contrast", "gaussian_noise")


def files(folder: Path) -> dict[str, bytes]:
    paths = [path for path in folder.rglob("*") if path.is_file() and path.name != "manifest.json"]
    return {str(path.relative_to(folder)): path.read_bytes() for path in paths}


def test_a_copy_of_the_digits(renorm_command: Command, tmp_path: Path):
    result = renorm_command("corrupt", "digits", "out", *SMALL, "--num-workers", "0")
    assert result.status == 0, result.err
    assert "450 images of 16 x 16 pixels from digits: gaussian_noise contrast, severities 1 2 3 4 5" in result.out
    assert "layout cifar-c, severities for 32 pixels, seed 0" in result.out
    assert {path.name for path in (tmp_path / "out").iterdir()} == {
        "contrast.npy",
        "gaussian_noise.npy",
        "labels.npy",
        "manifest.json",
    }
    assert len(read_shifts(tmp_path / "out")) == 10


def test_every_option_arrives(renorm_command: Command, photos: Path, tmp_path: Path):
    options = ["--layout", "imagenet-c", "--severities", "2", "5", "--format", "jpeg", "--quality", "70"]
    options += ["--split", "test", "--holdout", "0.5", "--size", "24", "--seed", "3", "--scale", "224"]
    result = renorm_command("corrupt", photos, "out", *SMALL, *options, "--num-workers", "1")
    assert result.status == 0, result.err
    assert "20 images of 24 x 24 pixels" in result.out
    assert "layout imagenet-c, JPEG of quality 70, severities for 224 pixels, seed 3" in result.out
    manifest = json.loads((tmp_path / "out" / "manifest.json").read_text())
    assert manifest["command"].startswith("renorm")  # what was typed, which in a test is what started it
    assert manifest["settings"] == {
        "layout": "imagenet-c",
        "corruptions": ["gaussian_noise", "contrast"],
        "severities": [2, 5],
        "seed": 3,
        "scale": 224,
        "format": "jpeg",
        "quality": 70,
        "frost_dir": None,
    }
    names = {path.name for path in (tmp_path / "out" / "contrast" / "5").rglob("*.JPEG")}
    assert names <= {f"{i}.JPEG" for i in range(4)}


def test_again_is_nothing_new_and_otherwise_is_refused(renorm_command: Command, tmp_path: Path):
    command = ["corrupt", "digits", "out", "--corruptions", "contrast", "--num-workers", "0"]
    assert renorm_command(*command).status == 0
    before = files(tmp_path / "out")
    assert renorm_command(*command).status == 0
    result = renorm_command(*command, "--seed", "1")
    assert result.status == 1
    assert re.search(r"out holds another corrupted copy; it differs in seed\..*Choose another folder", result.err)
    assert files(tmp_path / "out") == before


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["nowhere", "out"], r"nothing at nowhere.*Check the path"),
        (["digits", "out", "--corruptions", "fgo"], r"corruptions 'fgo': standard, .*needed\. Choose"),
        (["digits", "out", "--split", "tets"], r"no split 'tets'.*Use 'test'"),
        (["digits", "out", "--num-workers", "-1"], r"--num-workers -1: 0 or more processes are needed"),
        (["digits", "out", "--quality", "80"], r"--quality 80 without JPEG"),
        (["digits", "."], r"\. is not empty \(.*Choose another folder"),
    ],
)
def test_errors_are_one_message_and_nothing_is_written(
    options: list[str], message: str, renorm_command: Command, tmp_path: Path
):
    (tmp_path / "mine").write_text("")
    result = renorm_command("corrupt", *options)
    assert result.status == 1
    assert re.search(message, result.err), result.err
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]


def test_an_unknown_layout_is_refused_and_help_names_all(capsys: pytest.CaptureFixture[str]):
    with pytest.raises(UsageError, match="--layout cifar: cifar-c or imagenet-c or parquet is needed"):
        parse(["corrupt", "digits", "out", "--layout", "cifar"])
    with pytest.raises(SystemExit):
        parse(["corrupt", "--help"])
    shown = capsys.readouterr().out
    assert all(name in shown for name in ("cifar-c", "imagenet-c", "parquet"))


@pytest.mark.slow
def test_a_killed_command_says_what_to_remove(tmp_path: Path):
    command = [sys.executable, "-m", "renorm", "corrupt", "digits", "out", *SMALL, "--layout", "imagenet-c"]
    killed = subprocess.Popen([*command, "--num-workers", "1"], cwd=tmp_path, start_new_session=True)
    while not any((tmp_path / "out").rglob("*.JPEG")):
        assert killed.poll() is None
        time.sleep(0.01)
    os.killpg(killed.pid, signal.SIGKILL)  # its worker too
    killed.wait()
    again = subprocess.run(command, cwd=tmp_path, check=False, capture_output=True, text=True)
    assert again.returncode == 1
    assert re.search(r"killed: .* remove out/\.unfinished and give", again.stderr.replace("\n", " "))
    shutil.rmtree(tmp_path / "out" / ".unfinished")
    subprocess.run(command, cwd=tmp_path, check=True, capture_output=True)
    assert len(read_shifts(tmp_path / "out")) == 10


@pytest.mark.slow
def test_a_file_system_that_refuses_to_grow_a_file(tmp_path: Path):
    command = [
        sys.executable,
        "-m",
        "renorm",
        "corrupt",
        "digits",
        "out",
        "--corruptions",
        "contrast",
        "--num-workers",
        "1",
    ]
    limited = subprocess.run(
        ["bash", "-c", f"ulimit -f 500; exec {' '.join(command)}"],
        cwd=tmp_path, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert limited.returncode == 1
    assert re.search(
        r"no room left for out \(File too large\): .*nothing of it stays", limited.stderr.replace("\n", " ")
    )
    assert not (tmp_path / "out").exists()
    subprocess.run(command, cwd=tmp_path, check=True, capture_output=True)
    assert len(read_shifts(tmp_path / "out")) == 5
