"""Options that every command has, wrong names, and what a command is: one file that knows no other."""

import ast
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

import renorm
from renorm.cli.arguments import COMMANDS, UsageError, command_class, options_of, parse, wanted
from renorm.cli.console import Console, plain
from renorm.cli.evaluate import Evaluate
from renorm.cli.options import Common
from renorm.train import device_of, join
from tests.cli.conftest import TRAIN, Command, Result
from tests.conftest import ROOT

CLI = ROOT / "src" / "renorm" / "cli"


def imports(path: Path) -> set[str]:
    nodes = [node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.ImportFrom)]
    return {str(node.module) for node in nodes}


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_takes_the_common_options(name: str):
    options = options_of(command_class(name))
    assert options.keys() >= {"json", "quiet", "device", "config", "debug"}


def test_every_command_is_a_file_that_imports_no_other_command():
    files = {name.replace("-", "_") for name in COMMANDS}
    commands = {f"renorm.cli.{name}" for name in files}
    for path in CLI.glob("*.py"):
        assert not imports(path) & commands, path.name
    assert all((CLI / f"{name}.py").exists() for name in files)


def test_only_main_reads_what_was_typed():
    readers = [path.name for path in (ROOT / "src").rglob("*.py") if "sys.argv" in path.read_text()]
    assert readers == ["__init__.py"]
    assert "sys.argv" in (CLI / "__init__.py").read_text()


def test_the_version(renorm_command: Command):
    assert renorm_command("--version").out == f"renorm {renorm.__version__}\n"


@pytest.mark.parametrize(
    ("typed", "message"),
    [
        ("adpt", r"no command 'adpt': did you mean adapt\?"),
        ("xyz", r"no command 'xyz': one of demo, train, .* is needed"),
        ("--json adapt x", r"--json before a command: options come after it"),
        ("adapt x --images d --wieghts w", r"no option --wieghts of renorm adapt: did you mean --weights\?"),
        ("train --weight w", r"no option --weight of renorm train: did you mean --weights\?"),
        ("adapt x --images d --weight w.pth", r"--weight w.pth: a number is needed.*did you mean --weights\?"),
        ("adapt x --images d --prior many", r"--prior many: a number or auto is needed"),
        ("adapt x --images d --num-images 1.5", r"--num-images 1.5: a whole number is needed"),
        ("train --norm spilt", r"--norm spilt: split or sandwich or shared is needed"),
        ("corrupt d o --severities a b", r"--severities a b: a whole number, or several is needed"),
    ],
)
def test_what_cannot_be_meant_is_told_with_what_may_be(renorm_command: Command, typed: str, message: str):
    result = renorm_command(*typed.split())
    assert result.status == 2
    assert result.err.startswith("renorm: ")
    assert re.search(message, result.err), result.err
    assert "NoneType" not in result.err


def test_types_in_words():
    assert wanted(options_of(Evaluate)["shifts"]) == "a text, or several"
    assert wanted(options_of(Evaluate)["mean"]) == "a number, 3 of them"


def test_options_from_a_file_give_way_to_those_that_are_typed(tmp_path: Path):
    toml = tmp_path / "options.toml"
    toml.write_text('shifts = ["clean", "weak"]\nnum-images = 7\nseed = 3\nattack_start = false\nprior = "auto"\n')
    command, names = parse(["evaluate", "run", "--config", str(toml), "--seed", "4", "--banks", "weak"])
    assert isinstance(command, Evaluate)
    asked = command.asked
    assert (command.model, asked.shifts, asked.num_images, asked.seed) == ("run", ("clean", "weak"), 7, 4)
    assert not asked.attacks.attack_start
    assert names >= {"seed", "num_images", "shifts", "banks"}
    as_json = tmp_path / "options.json"
    as_json.write_text(json.dumps({"num_images": 9, "json": True}))
    command, _ = parse(["evaluate", "run", f"--config={as_json}"])
    assert isinstance(command, Evaluate)
    assert (command.asked.num_images, command.common) == (9, Common(json=True, config=as_json))


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        (
            "a.toml",
            "num_image = 3",
            r"a.toml names 'num_image', which is no option of renorm adapt: did you mean num-images\?",
        ),
        ("a.toml", "model = 'x'", r"names 'model', which is no option"),
        ("a.toml", "num_images = ", r"cannot be read"),
        ("a.json", "[1]", r"holds no names: an object of options by name is needed"),
        ("a.yaml", "", r"a .toml or .json file is needed"),
    ],
)
def test_a_file_of_options_that_cannot_be_is_refused(tmp_path: Path, name: str, text: str, message: str):
    (tmp_path / name).write_text(text)
    with pytest.raises(UsageError, match=message):
        parse(["adapt", "run", "--images", "d", "--config", str(tmp_path / name)])


def test_a_device_is_checked_before_anything_else(renorm_command: Command, trained: Path):
    assert device_of("cpu").type == "cpu"
    assert join("cpu").device.type == "cpu"
    there = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    for device in ("gpu", "cuda:99", *(name for name, here in there.items() if not here)):
        result = renorm_command("evaluate", trained, "--device", device)
        assert result.status == 1
        assert re.search(rf"no device '{device}': one of cpu.* is needed on this machine", result.err)
    for command in (["compare", "a", "b"], ["corrupt", "digits", "o"], ["report", str(trained)]):
        result = renorm_command(*command, "--device", "cpu")
        assert result.status == 1
        assert "with a command that runs no model: it would do nothing" in result.err


def test_several_processes_share_no_device(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(ValueError, match="--device cuda:0 for 2 processes: each needs a device of its own"):
        join("cuda:0")


def object_of(result: Result) -> dict[str, Any]:
    """All that a command printed on standard output, which is one JSON object."""
    assert result.status == 0, result.err
    return json.loads(result.out)


def test_json_is_what_is_printed(renorm_command: Command, trained: Path, tmp_path: Path, photos: Path):
    run = shutil.copytree(trained, tmp_path / "run")
    result = renorm_command("evaluate", run, "--num-images", 40, "--shifts", "clean", "fog:1", "fog:2", "--json")
    assert "bank x shift" in result.err
    found = object_of(result)
    assert {row["measure"] for row in found["rows"]} >= {"accuracy", "nll", "ece"}
    assert found["overall"]["mean of 1 corruption"].keys() >= {"weak", "strong"}
    assert found["written"]["table"].endswith("results.csv")
    assert "report" in found["written"]
    adapted = renorm_command("adapt", run, "--images", photos, "--branch", "weak", "--bank", "b.safetensors", "--json")
    found = object_of(adapted)
    assert 0 <= found["source_weight"] <= 1
    assert found["sites"].keys() == found["moved"].keys()
    assert found["change"]["images"] == 8
    assert len(found["change"]["gain"]) == 3
    assert found["written"] == {"adapted_bank": "b.safetensors"}
    assert found["command"].startswith("renorm adapt")
    compared = renorm_command("compare", run, run, "--json", "--banks", "weak", "strong")
    assert object_of(compared)["differences"][0]["interval"].keys() == {"value", "low", "high"}
    measure = ("recalibrate", run, "--images", photos, "--split", "test", "--branch", "weak")
    measured = renorm_command(*measure, "--bank", "c.safetensors", "--json")
    assert object_of(measured)["images"] == 40
    program = renorm_command("export", run, "--branch", "weak", "--out", "p.pt2", "--json", "--device", "cpu")
    assert object_of(program)["pt2"]["error"] < 1e-4
    assert object_of(renorm_command("report", run, "--json"))["rows"]
    several = renorm_command("report", run, trained, "--out", "page.html", "--json")
    assert object_of(several).keys() == {"command", "findings", "accuracies", "changes", "written"}
    folded = renorm_command("fold", run, "--branch", "weak", "--out", "w.safetensors", "--json")
    assert object_of(folded)["written"] == {"plain_model": "w.safetensors"}
    corrupt = "corrupt digits copy --corruptions contrast --num-workers 0 --json"
    assert object_of(renorm_command(*corrupt.split()))["images"] == 450
    curve = "--branch weak --curve --sizes 2 --draws 2 --methods 16 --out c.png --json"
    drawn = object_of(renorm_command("adapt", run, "--images", photos, *curve.split()))
    assert [row["method"] for row in drawn["curve"]] == ["source", "prior 16"]
    assert drawn["written"] == {"curve": "c.png", "curve_numbers": "c.csv"}


def test_quiet_is_silent(renorm_command: Command, trained: Path):
    result = renorm_command("fold", trained, "--branch", "weak", "--out", "f.safetensors", "--quiet")
    assert (result.status, result.out, result.err) == (0, "", "")
    assert renorm_command("fold", trained, "--branch", "no", "--out", "f.safetensors", "--quiet").err


def test_a_log_has_a_line_per_epoch(renorm_command: Command, tmp_path: Path):
    options = [*TRAIN, "--epochs", 2, "--table-images", 40, "--device", "cpu", "--json", "--out", tmp_path / "run"]
    result = renorm_command(*options)
    assert result.status == 0, result.err
    lines = re.findall(r"^epoch \d/2 .*$", result.err, re.MULTILINE)
    assert [line[:9] for line in lines] == ["epoch 1/2", "epoch 2/2"]
    pattern = r"loss \d+\.\d+  weak \S+%  strong \S+%  test weak \S+%  test strong \S+%  [\d,]+ images/s  0:\d\d left$"
    assert all(re.search(pattern, line) for line in lines), lines
    shift = r"^shift \d+/\d+  contrast \d  weak \S+%  strong \S+% .* \d+ s left$"
    assert len(re.findall(shift, result.err, re.MULTILINE)) == 5
    found = json.loads(result.out)
    assert [epoch["epoch"] for epoch in found["epochs"]] == [1, 2]
    assert found["rows"]


def test_json_has_no_number_that_is_none():
    assert plain({"a": float("nan"), "b": (1, float("inf")), "c": Path("x")}) == {"a": None, "b": [1, None], "c": "x"}


def test_a_process_that_is_not_the_main_one_is_silent(capsys: pytest.CaptureFixture[str]):
    console = Console(json=True)
    console.leave_to_others()
    console.say("x")
    console.found(x=1)
    console.finish()
    assert capsys.readouterr() == ("", "")


BLOCKED = """
import sys
class Block:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] == "torch":
            raise RuntimeError("torch was imported")
sys.meta_path.insert(0, Block())
from renorm.cli import main
for arguments in (["--version"], ["--help"], *([name, "--help"] for name in {commands})):
    try:
        status = main(arguments)
    except SystemExit as stopped:
        status = stopped.code
    assert not status, arguments
"""


def test_help_and_version_need_no_torch():
    code = BLOCKED.replace("{commands}", repr(COMMANDS))
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    assert "--num-images" in run.stdout
