"""``renorm export``: every bank of a run and plain models, as files that give what the bank gives."""

import json
import re
import shutil
from pathlib import Path

import onnx
import onnxruntime
import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor
from torch.testing import assert_close

import renorm
from renorm.evaluate import Choice, Classifier, TrainingImages, choose
from renorm.models import create
from renorm.recipes import open_run
from tests.cli.conftest import Command


@pytest.fixture(scope="module")
def adapted(trained: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bank of a branch adapted to darker images."""
    named = open_run(trained)
    pixels = named.images("digits").batch(range(32))[0] // 4
    renorm.adapt_(named.classifier.model, named.classifier.normalize(pixels), branch="strong", prior=16)
    bank = renorm.Bank.of(named.classifier.model, branch="strong", affine=True)
    return bank.save(tmp_path_factory.mktemp("banks") / "dark.safetensors")


def about(path: Path) -> dict[str, object]:
    extra = {"renorm.json": ""}
    torch.export.load(path, extra_files=extra)
    return json.loads(extra["renorm.json"])


def expected(classifier: Classifier, choice: Choice, pixels: Tensor) -> Tensor:
    with torch.no_grad(), choice.used(classifier.model):
        return classifier.model(classifier.normalize(pixels))


@pytest.mark.parametrize(
    "name", ["strong", "clean@weak", "weak:0.7+strong:0.3", "{adapted}"], ids=["branch", "clean", "mixture", "file"]
)
def test_any_bank_of_a_run(renorm_command: Command, trained: Path, adapted: Path, tmp_path: Path, name: str):
    name = name.format(adapted=adapted)
    option = "--branch" if name == "strong" else "--bank"
    result = renorm_command("export", trained, option, name, "--out", "m.pt2")
    assert result.status == 0, result.err
    assert re.search(r"44 tensors, equal to the model within .* \(tolerance 0.0001\) on batches of 1 and 4", result.out)
    named = open_run(trained)
    training = TrainingImages(named.images("digits", "train"), make_view=lambda name: named.config.view(name, 16))
    choice = choose(named.classifier, [name], named.classifier.branches, training)[name]
    pixels = named.images("digits").batch(range(3))[0]
    found = torch.export.load(tmp_path / "m.pt2").module()(named.classifier.normalize(pixels))
    assert_close(found, expected(named.classifier, choice, pixels), rtol=1e-4, atol=1e-4)
    said = about(tmp_path / "m.pt2")
    assert (said["bank"], said["made"], said["classes"]) == (name, choice.made, list(named.classifier.classes))
    assert (said["input"], said["shape"]) == ("(RGB in [0, 1] - mean) / std", ["batch", 3, 16, 16])


def test_a_bank_file_can_go_into_another_branch(renorm_command: Command, trained: Path, adapted: Path, tmp_path: Path):
    result = renorm_command("export", trained, "--branch", "weak", "--bank", adapted, "--out", "m.pt2")
    assert result.status == 0, result.err
    program, bank = torch.export.load(tmp_path / "m.pt2"), renorm.Bank.load(adapted)
    assert_close(program.state_dict["bn1.running_mean"], bank.sites["bn1"].mean)


@pytest.mark.parametrize("name", ["weak", "weak:0.7+strong:0.3"])
def test_onnx_with_its_normalization_takes_pixels(renorm_command: Command, trained: Path, tmp_path: Path, name: str):
    option = "--branch" if name == "weak" else "--bank"
    result = renorm_command("export", trained, option, name, "--normalize", "--out", "m.onnx")
    assert result.status == 0, result.err
    assert "takes float32 images (batch, 3, 16, 16): RGB in [0, 1]" in result.out
    named = open_run(trained)
    pixels = named.images("digits").batch(range(5))[0]
    session = onnxruntime.InferenceSession(tmp_path / "m.onnx", providers=["CPUExecutionProvider"])
    found = session.run(None, {"images": (pixels / 255).numpy()})[0]
    choice = choose(named.classifier, [name], named.classifier.branches, TrainingImages(None))[name]
    assert_close(torch.from_numpy(found), expected(named.classifier, choice, pixels), rtol=1e-4, atol=1e-4)
    said = {p.key: p.value for p in onnx.load(tmp_path / "m.onnx").metadata_props}
    assert (said["renorm.input"], said["renorm.bank"]) == ("RGB in [0, 1]", name)


def test_plain_models_and_folded_files(renorm_command: Command, trained: Path, tmp_path: Path):
    save_file(create("resnet8").state_dict(), tmp_path / "w.safetensors")
    weights = ("--weights", "w.safetensors")
    result = renorm_command("export", "resnet8", *weights, "--out", "a.pt2")
    assert result.status == 1
    assert re.search(r"no size is known for images of resnet8: .*is needed. Add --size", result.err)
    assert renorm_command("export", "resnet8", *weights, "--size", "24", "--out", "a.pt2").status == 0
    assert about(tmp_path / "a.pt2")["bank"] == "source"
    assert renorm_command("fold", trained, "--branch", "weak", "--out", "f.safetensors").status == 0
    assert renorm_command("export", "f.safetensors", "--out", "b.pt2").status == 0
    assert torch.export.load(tmp_path / "b.pt2").module()(torch.zeros(3, 3, 16, 16)).shape == (3, 10)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--branch", "weak", "--out", "m.pt"], r"cannot be exported as m.pt.*Call it m.pt2 or m.onnx"),
        (["--out", "m.pt2"], r"no branch given.*weak, strong.*Add --branch weak"),
        (["--bank", "wek", "--out", "m.pt2"], r"unknown bank 'wek'.*Did you mean weak"),
        (["--bank", "no.safetensors", "--out", "m.pt2"], r"no bank at no.safetensors.*Check the path"),
        (
            ["--branch", "strong", "--bank", "clean@weak", "--out", "m.pt2"],
            r"--branch strong with --bank clean@weak.*affine of weak.*Leave --branch out",
        ),
        (["--branch", "stron", "--bank", "clean@weak", "--out", "m.pt2"], r"no branch 'stron'.*'strong'"),
        (["--branch", "weak", "--size", "0", "--out", "m.pt2"], r"0 is no size.*is needed. Add --size"),
    ],
)
def test_what_cannot_be_is_refused(
    renorm_command: Command, trained: Path, tmp_path: Path, options: list[str], message: str
):
    result = renorm_command("export", shutil.copytree(trained, tmp_path / "run"), *options)
    assert result.status == 1
    assert re.search(message, result.err, re.DOTALL), result.err
    assert [path.name for path in tmp_path.iterdir()] == ["run"]
