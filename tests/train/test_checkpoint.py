import errno
import os
import stat
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from renorm.train import Checkpoint, Run, checkpoint
from tests.disks import no_room


def some(value: float) -> Checkpoint:
    shared = torch.full((3, 5), value)
    weights = {"model": {"a": shared, "b": shared}, "other": {"a": shared + 1}}
    return Checkpoint(weights, {"branches": ["weak", "strong"]}, {"step": 3, "t": torch.ones(2)})


def test_a_checkpoint_comes_back_and_replaces_the_former(tmp_path: Path):
    checkpoint.save(tmp_path, 3, some(1))
    checkpoint.save(tmp_path, 12, some(2))
    loaded = checkpoint.load(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["step-00000012"]
    assert torch.equal(loaded.weights["model"]["b"], torch.full((3, 5), 2.0))
    assert torch.equal(loaded.weights["other"]["a"], torch.full((3, 5), 3.0))
    assert loaded.metadata == {"format": 1, "branches": ["weak", "strong"]}
    assert (loaded.state["format"], loaded.state["step"]) == (1, 3)


@pytest.mark.parametrize(("file", "large"), [("model.safetensors", "weights"), (checkpoint.STATE, "state")])
def test_a_disk_without_room_leaves_the_former(tmp_path: Path, file: str, large: str):
    checkpoint.save(tmp_path, 3, some(1))
    values = torch.rand(4096)
    new = some(2)._replace(**{large: {"model": {"a": values}} if large == "weights" else {"a": values}})
    with (
        no_room(8192),
        pytest.raises(OSError, match=rf"{file} cannot be written \(File too large\).*Free some") as error,
    ):
        checkpoint.save(tmp_path, 4, new)
    assert error.value.errno == errno.EFBIG
    with no_room(8192), pytest.raises(OSError, match="cannot be written"):
        checkpoint.save(tmp_path / "first", 4, new)
    assert not (tmp_path / "first").exists()
    assert [path.name for path in tmp_path.iterdir()] == ["step-00000003"]


def test_others_may_read_a_checkpoint_as_the_umask_says(tmp_path: Path):
    former = os.umask(0o027)
    try:
        version = checkpoint.save(tmp_path, 3, some(1))
    finally:
        os.umask(former)
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in version.iterdir()}
    assert modes == dict.fromkeys(("model.safetensors", "other.safetensors", checkpoint.STATE), 0o640)
    assert stat.S_IMODE(version.stat().st_mode) == 0o750


def test_records_are_whole_where_the_disk_has_no_room(tmp_path: Path):
    run = Run(tmp_path)
    run.log({"epoch": 1})
    with no_room(8192), pytest.raises(OSError, match=r"metrics.jsonl cannot be written \(File too large\)"):
        run.log({"epoch": 2, "what": "x" * 8192})
    assert run.history() == [{"epoch": 1}]
    run.log({"epoch": 2})
    assert run.history() == [{"epoch": 1}, {"epoch": 2}]


@pytest.mark.parametrize("text", ["", "{", "[]", "\\xff"])
def test_a_damaged_configuration_is_named(tmp_path: Path, text: str):
    (tmp_path / "config.json").write_text(text)
    with pytest.raises(
        ValueError, match=r"config.json cannot be read \(.*\): a whole file .* is needed. Copy it again"
    ):
        Run(tmp_path).config()
    (tmp_path / "metrics.jsonl").write_text('{"a": 1}\n{"b')
    with pytest.raises(
        ValueError, match=r"metrics.jsonl cannot be read \(.*\): a whole file .* is needed. Copy it again"
    ):
        Run(tmp_path).history()


def test_what_a_killed_process_left_does_no_harm(tmp_path: Path):
    (tmp_path / ".unfinished").mkdir()
    (tmp_path / ".unfinished" / "model.safetensors").write_bytes(b"half")
    checkpoint.save(tmp_path, 3, some(1))
    assert [path.name for path in tmp_path.iterdir()] == ["step-00000003"]


@pytest.mark.parametrize("file", ["model.safetensors", "other.safetensors", checkpoint.STATE])
def test_a_truncated_file_is_named(tmp_path: Path, file: str):
    path = checkpoint.save(tmp_path, 3, some(1)) / file
    path.write_bytes(path.read_bytes()[:-40])
    with pytest.raises(ValueError, match=rf"{file} cannot be read .* whole file .* is needed. Copy it again"):
        checkpoint.load(tmp_path)


def test_a_checkpoint_without_a_format_is_read_as_that_of_one_network_and_one_optimizer(tmp_path: Path):
    version = tmp_path / "step-00000003"
    version.mkdir()
    save_file({"a": torch.ones(2)}, version / "model.safetensors", {"branches": '["weak"]'})
    torch.save({"optimizer": {"state": {}}, "random": {"cpu": torch.zeros(3)}}, version / checkpoint.STATE)
    loaded = checkpoint.load(tmp_path)
    assert torch.equal(loaded.weights["model"]["a"], torch.ones(2))
    assert loaded.metadata == {"branches": ["weak"]}
    assert loaded.state["optimizers"] == {"model": {"state": {}}}
    assert loaded.state.keys() == {"format", "optimizers", "random"}


@pytest.mark.parametrize("file", ["model.safetensors", checkpoint.STATE])
def test_a_later_format_is_refused(tmp_path: Path, file: str):
    path = checkpoint.save(tmp_path, 3, some(1)) / file
    if file == checkpoint.STATE:
        torch.save({"format": 2}, path)
    else:
        save_file({"a": torch.ones(2)}, path, {"format": "2"})
    with pytest.raises(ValueError, match=rf"{file} has the format 2, and .* up to 1: .* is needed. Upgrade renorm"):
        checkpoint.load(tmp_path)


def test_what_others_write_beside_tensors_is_text(tmp_path: Path):
    save_file({"a": torch.ones(2)}, tmp_path / "theirs.safetensors", {"format": "pt"})
    assert checkpoint.read_weights(tmp_path / "theirs.safetensors")[1] == {"format": "pt"}


class Nasty:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return print, ("unpickled",)


def test_nothing_is_unpickled(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    path = checkpoint.save(tmp_path, 3, some(1)) / checkpoint.STATE
    torch.save({"state": Nasty()}, path)
    with pytest.raises(ValueError, match="cannot be read"):
        checkpoint.load(tmp_path)
    assert "unpickled" not in capsys.readouterr().out


def test_a_run_is_not_overwritten_and_a_missing_one_is_named(tmp_path: Path):
    run = Run(tmp_path / "first")
    run.start({"seed": 1})
    with pytest.raises(ValueError, match=r"holds a run already: .* Add --resume .*another --out"):
        run.start({"seed": 2})
    assert run.config() == {"seed": 1}
    with pytest.raises(FileNotFoundError, match=r"no run in .*frist: .*Beside it there are: first"):
        Run(tmp_path / "frist").config()
    with pytest.raises(FileNotFoundError, match=r"no checkpoint in"):
        run.load()
