from __future__ import annotations

import pickle
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn
from torch.testing import assert_close

import renorm
from renorm.models import ResNet, create, load_weights

WEIGHTS = "weights/cifar10-resnet20.safetensors"


@pytest.fixture
def model() -> ResNet:
    return ResNet(8, 5)


@pytest.mark.parametrize("kind", ["safetensors", "torch", "nested"])
def test_weights_load_from(kind: str, model: ResNet, tmp_path: Path):
    path = tmp_path / ("w.safetensors" if kind == "safetensors" else "w.pt")
    state = model.state_dict()
    if kind == "safetensors":
        save_file(state, path)
    else:
        torch.save({"state_dict": state, "epoch": 3} if kind == "nested" else state, path)
    other = load_weights(ResNet(8, 5), path)
    for key, value in other.state_dict().items():
        assert_close(value, state[key], rtol=0, atol=0)


@pytest.mark.parametrize(
    ("other", "difference"),
    [
        (ResNet(14, 5), r"only the file has layer1\.1\.bn1\.bias, .* and \d+ more"),
        (
            ResNet(8, 6),
            r"linear\.weight is \(6, 64\) in the file and \(5, 64\) in the model, linear\.bias is .*num_classes=6",
        ),
        (nn.Sequential(nn.Linear(2, 2)), r"only the model has conv1\.weight, .*; only the file has 0\.bias, 0\.weight"),
    ],
)
def test_weights_of_another_model_are_refused(other: nn.Module, difference: str, model: ResNet, tmp_path: Path):
    save_file(other.state_dict(), tmp_path / "w.safetensors")
    before = {key: value.clone() for key, value in model.state_dict().items()}
    with pytest.raises(ValueError, match=rf"w\.safetensors holds .* another model .*{difference}"):
        load_weights(model, tmp_path / "w.safetensors")
    for key, value in model.state_dict().items():
        assert_close(value, before[key], rtol=0, atol=0)


@pytest.mark.parametrize("suffix", [".safetensors", ".pt"])
@pytest.mark.parametrize("part", [0.0, 0.5])
def test_a_truncated_file_is_named(suffix: str, part: float, model: ResNet, tmp_path: Path):
    path = (tmp_path / "w").with_suffix(suffix)
    save_file(model.state_dict(), path) if suffix == ".safetensors" else torch.save(model.state_dict(), path)
    whole = path.read_bytes()
    path.write_bytes(whole[: int(part * len(whole))])
    with pytest.raises(ValueError, match=rf"w\{suffix} \(\d+ bytes\) cannot be read as weights.*Copy or download"):
        load_weights(model, path)


def test_a_missing_file_is_named(model: ResNet, tmp_path: Path):
    with pytest.raises(FileNotFoundError, match=r"none\.pt is no file; weights are needed. Give the path"):
        load_weights(model, tmp_path / "none.pt")


class Harmful:
    def __reduce__(self) -> tuple:
        return (Path("harm").touch, ())


def test_nothing_is_unpickled(model: ResNet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    torch.save({"weight": Harmful()}, "w.pt")
    Path("plain.pt").write_bytes(pickle.dumps(Harmful(), protocol=2))
    for path in ("w.pt", "plain.pt"):
        with pytest.raises(ValueError, match=r"it holds something else than tensors, \S+, whose .*\. Save one"):
            load_weights(model, path)
    assert not Path("harm").exists()


def test_a_file_of_something_else_is_named(model: ResNet, tmp_path: Path):
    for content in ([torch.zeros(2)], torch.zeros(2), {}, {"epoch": 3}):
        torch.save(content, tmp_path / "w.pt")
        with pytest.raises(ValueError, match=r"w\.pt holds no state dict.*torch\.save\(model\.state_dict\(\), path\)"):
            load_weights(model, tmp_path / "w.pt")
    with pytest.raises(FileNotFoundError, match=r"is a folder; weights are needed. Give the path"):
        load_weights(model, tmp_path)


def test_a_file_that_renorm_wrote_for_something_else_is_named(model: ResNet, tmp_path: Path):
    renorm.Bank.of(model).save(tmp_path / "bank.safetensors")
    renorm.Adapter(model).save(tmp_path / "adapter.safetensors")
    save_file({"a": torch.zeros(2)}, tmp_path / "results.safetensors", {"format": "1", "protocol": "{}"})
    for name, what in (
        ("bank", r"a bank\. Install it: .*--banks"),
        ("adapter", "the memory"),
        ("results", "what images add"),
    ):
        with pytest.raises(ValueError, match=rf"{name}\.safetensors holds no weights: it is {what}"):
            load_weights(model, tmp_path / f"{name}.safetensors")


def test_a_program_is_named(model: ResNet, tmp_path: Path):
    torch.export.save(torch.export.export(nn.Linear(2, 2), (torch.zeros(1, 2),)), tmp_path / "w.pt2")
    with pytest.raises(ValueError, match=r"w\.pt2 .*cannot be read as weights.* is needed"):
        load_weights(model, tmp_path / "w.pt2")


def test_what_a_file_is_is_read_off_its_bytes(model: ResNet, tmp_path: Path):
    save_file(model.state_dict(), tmp_path / "w.bin")
    torch.save(model.state_dict(), tmp_path / "w.safetensors")
    for name in ("w.bin", "w.safetensors"):
        assert_close(load_weights(ResNet(8, 5), tmp_path / name).state_dict(), model.state_dict())


def test_the_real_weights_load_strictly(data_folder: Path):
    model = load_weights(create("resnet20"), data_folder / WEIGHTS)
    state = model.state_dict()
    for name, value in load_file(data_folder / WEIGHTS).items():
        assert_close(state[name], value)


def test_branches_of_a_torch_file_are_compared(tmp_path: Path):
    models = [create("resnet8") for _ in range(2)]
    for model, branches in zip(models, (["weak", "strong"], ["strong", "weak"]), strict=True):
        renorm.split_(model, branches)
    torch.save(models[0].state_dict(), tmp_path / "w.pt")
    with pytest.raises(ValueError, match=r"weak.*strong"):
        load_weights(models[1], tmp_path / "w.pt")


def test_a_network_that_asks_for_the_version_of_its_weights(tmp_path: Path):
    trained = create("torchvision:mnasnet0_5")
    save_file(trained.state_dict(), tmp_path / "w.safetensors")
    model = load_weights(create("torchvision:mnasnet0_5"), tmp_path / "w.safetensors")
    assert_close(model.state_dict(), trained.state_dict())
