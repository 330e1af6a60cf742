"""What goes wrong is one message: what was given, what is needed, what to do; nothing is overwritten or half written."""

import re
import shutil
from pathlib import Path

import pytest
from safetensors.torch import save_file

from renorm.cli import main
from renorm.models import create
from tests.cli.conftest import TRAIN, Command
from tests.disks import no_room


def files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture
def truncated(tmp_path: Path, trained: Path) -> Path:
    """Damaged files of every kind."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    pq.write_table(pa.table({"image": [{"bytes": b"x" * 5000, "path": "a"}], "label": [0]}), tmp_path / "whole.parquet")
    (tmp_path / "cut.parquet").write_bytes((tmp_path / "whole.parquet").read_bytes()[:-100])
    (tmp_path / "cut.safetensors").write_bytes((trained / "banks" / "weak.safetensors").read_bytes()[:-100])
    (tmp_path / "empty").mkdir()
    save_file(create("resnet14").state_dict(), tmp_path / "resnet14.safetensors")
    return tmp_path


CASES = {
    "model": (
        ["train", "--model", "resnt20"],
        r"no network is called 'resnt20', and no run or file is there.*resnet20.*Use",
    ),
    "timm model": (["train", "--model", "timm:resnet81"], r"timm:resnet81.*timm:resnet18.*Use"),
    "branch": (["train", "--branches", "weak", "stong"], r"branch 'stong': one of clean, weak, strong.*'strong'"),
    "batch": (["train", "--batch", "255"], r"a batch of 255 does not divide.*each needs as many.*Use --batch 254"),
    "missing data": (["train", "--data", "nowhere"], r"nothing at nowhere.*needed.*Check the path"),
    "empty data": (["train", "--data", "{tmp}/empty"], r"empty.* no .*needed.*"),
    "cut parquet": (["train", "--data", "{tmp}/cut.parquet"], r"cut.parquet"),
    "missing run": (["evaluate", "{tmp}/no"], r"no run in .*no: .*config.json.*is needed"),
    "missing report": (["report", "{tmp}/no"], r"no run in .*no: .*is needed"),
    "shift": (["evaluate", "{run}", "--shifts", "contrst"], r"unknown shift 'contrst'.*is needed.*contrast"),
    "severity": (["evaluate", "{run}", "--shifts", "contrast:9"], r"'contrast:9'.*severity 1 to 5"),
    "bank": (["evaluate", "{run}", "--banks", "stron"], r"unknown bank 'stron'.*is needed.*strong"),
    "cut bank": (["evaluate", "{run}", "--banks", "{tmp}/cut.safetensors"], r"cut.safetensors cannot be read.*again"),
    "no data": (["evaluate", "resnet14", "--weights", "{tmp}/resnet14.safetensors"], r"no images.*Add --data"),
    "no weights": (["adapt", "resnet14", "--images", "digits"], r"no weights for resnet14.*Add --weights"),
    "other weights": (
        ["adapt", "resnet20", "--images", "digits", "--weights", "{tmp}/resnet14.safetensors"],
        r"resnet14.safetensors holds the weights of another model.*must be the same.*Create",
    ),
    "foreign file": (
        ["adapt", "{tmp}/resnet14.safetensors", "--images", "digits"],
        r"does not say what model.*--weights",
    ),
    "which branch": (["adapt", "{run}", "--images", "digits"], r"no branch given.*weak, strong.*Add --branch weak"),
    "no such branch": (["fold", "{run}", "--branch", "wek", "--out", "o.safetensors"], r"no branch 'wek'.*'weak'"),
    "too many": (["adapt", "{run}", "--images", "digits", "--branch", "weak", "--num-images", "9999"], r"1 to 450"),
    "mean alone": (["adapt", "resnet14", "--images", "digits", "--mean", "0", "0", "0"], r"both. Add the other"),
    "idle": (["train", "--norm", "shared", "--share", "affine"], r"--share with --norm shared.*Leave it out, or add"),
    "weights of a run": (
        ["evaluate", "{run}", "--weights", "{tmp}/resnet14.safetensors"],
        r"--weights with .*run, which says that itself.*Leave it out, or name the architecture",
    ),
    "normalization of a run": (
        ["export", "{run}", "--out", "m.onnx", "--mean", *["0.5"] * 3, "--std", *["0.2"] * 3],
        r"--mean, --std with .*run, which says that itself.*Leave them out",
    ),
    "fold suffix": (["fold", "{run}", "--branch", "weak", "--out", "o.pt"], r"o.pt.*Call it o.safetensors"),
    "nothing to write": (["recalibrate", "{run}", "--images", "digits"], r"nothing to write.*Add --bank"),
    "run exists": ([*TRAIN, "--out", "{run}"], r"holds a run already.*Add --resume"),
    "resume differs": (["train", "--out", "{run}", "--resume", "--seed", "4"], r"seed 4 \(the run has 0\)"),
    "loss": (
        [*TRAIN, "--rate", "1e30", "--warmup", "0", "--out", "{tmp}/nan"],
        r"the loss became (nan|inf).*Lower --rate",
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_errors_are_one_message(renorm_command: Command, truncated: Path, trained: Path, case: str):
    arguments, message = CASES[case]
    folder = Path(shutil.copytree(trained, truncated / "run"))
    before = files(truncated)
    result = renorm_command(*[a.format(tmp=truncated, run=folder) for a in arguments])
    assert result.status == 1
    assert re.search(message, result.err, re.DOTALL), result.err
    assert result.err.startswith("renorm: ")
    assert "Traceback" not in result.err
    after = files(truncated)
    assert {name: after[name] for name in before} == before
    assert all("nan" in Path(name).parts for name in after.keys() - before.keys())


def test_debug_shows_where_it_arose(renorm_command: Command, monkeypatch: pytest.MonkeyPatch):
    with pytest.raises(FileNotFoundError):
        renorm_command("report", "nowhere", "--debug")
    monkeypatch.setenv("RENORM_DEBUG", "1")
    with pytest.raises(FileNotFoundError):
        main(["report", "nowhere"])


def test_ctrl_c_is_130(renorm_command: Command, monkeypatch: pytest.MonkeyPatch):
    def interrupt(self: object, console: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("renorm.cli.report.Report.run", interrupt)
    result = renorm_command("report", "x")
    assert result.status == 130
    assert "interrupted" in result.err


@pytest.mark.parametrize(("library", "command"), [("tyro", "--help"), ("sklearn.datasets", "train")])
def test_a_missing_library_is_named(
    renorm_command: Command, monkeypatch: pytest.MonkeyPatch, library: str, command: str
):
    monkeypatch.setitem(__import__("sys").modules, library, None)
    result = renorm_command(command)
    assert result.status == 1
    assert f"{library.partition('.')[0]} is " in result.err
    assert "pip install '.[recipes]'" in result.err


def test_an_unknown_option_is_refused(renorm_command: Command):
    result = renorm_command("train", "--epoch", "3")
    assert result.status == 2
    assert "no option --epoch of renorm train: did you mean --epochs?" in result.err


@pytest.mark.parametrize(
    ("arguments", "file"),
    [
        ([*TRAIN, "--out", "{tmp}/new"], r"model\.safetensors"),
        (["fold", "{run}", "--branch", "weak", "--out", "{tmp}/f.safetensors"], r"f\.safetensors"),
        (["export", "{run}", "--branch", "weak", "--out", "{tmp}/f.pt2"], r"f\.pt2"),
    ],
)
def test_a_disk_without_room_is_one_message_and_nothing_is_half_written(
    renorm_command: Command, trained: Path, tmp_path: Path, arguments: list[str], file: str
):
    before = files(trained)
    with no_room(8192):
        result = renorm_command(*[a.format(tmp=tmp_path, run=trained) for a in arguments])
    assert result.status == 1
    assert re.fullmatch(rf"renorm: \S*{file} cannot be written \(File too large\)\. Room .* Free some.*\n", result.err)
    assert files(trained) == before
    assert [name for name in files(tmp_path) if "config.json" not in name and "metrics" not in name] == []
