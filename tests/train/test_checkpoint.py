from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from renorm.train import Checkpoint, Run, checkpoint


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


def test_a_write_that_fails_leaves_the_former(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    checkpoint.save(tmp_path, 3, some(1))

    def full(*args: object) -> None:
        raise OSError("No space left on device")

    monkeypatch.setattr("renorm.train.checkpoint.torch.save", full)
    with pytest.raises(OSError, match="No space"):
        checkpoint.save(tmp_path, 4, some(2))
    assert [path.name for path in tmp_path.iterdir()] == ["step-00000003"]


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
