"""Files are opened again by libraries that know nothing of renorm, and give the outputs of the model."""

import json
import math
import subprocess
import sys
import zipfile
from pathlib import Path

import onnx
import onnxruntime
import pytest
import torch
from torch import Tensor, nn
from torch.testing import assert_close

import renorm
from renorm.export import Normalized, checked, write
from renorm.export.formats import File
from renorm.models import create
from tests.conftest import ROOT

SIZE = 8
PROBE = torch.rand(4, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(1))
FORMATS = [".pt2", ".onnx"]


def net() -> nn.Sequential:
    """Two blocks and a classifier with statistics that are not the initial ones."""
    model = nn.Sequential(
        nn.Conv2d(3, 5, 3, padding=1), nn.BatchNorm2d(5), nn.ReLU(), nn.Conv2d(5, 7, 3, stride=2), nn.BatchNorm2d(7),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Dropout(0.9), nn.Linear(7, 2),
    )  # fmt: skip
    for norm in (model[1], model[4]):
        assert isinstance(norm, nn.BatchNorm2d)
        assert norm.running_mean is not None
        assert norm.running_var is not None
        norm.running_mean.normal_()
        norm.running_var.uniform_(0.5, 2)
        nn.init.normal_(norm.weight)
        nn.init.normal_(norm.bias)
    return model


def branched() -> nn.Sequential:
    """The same with two branches that differ."""
    model = net()
    renorm.split_(model, ["weak", "strong"])
    with torch.no_grad(), renorm.route(model, "strong"):
        model(3 * torch.randn(8, 3, SIZE, SIZE) + 1)
    return model


def run(path: Path, x: Tensor) -> Tensor:
    """What a file gives, without renorm."""
    if path.suffix == ".pt2":
        return torch.export.load(path).module()(x)
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    return torch.from_numpy(session.run(["logits"], {"images": x.numpy()})[0])


@pytest.mark.parametrize("suffix", FORMATS)
def test_a_file_gives_the_models_outputs_for_any_batch(tmp_path: Path, suffix: str):
    model = net()
    exported = write(model, tmp_path / f"m{suffix}", PROBE)
    assert exported.batches == (1, 4)
    assert exported.error < 1e-6
    assert "equal to the model within" in repr(exported)
    assert model.training
    for n in (1, 2, 7):
        x = torch.randn(n, 3, SIZE, SIZE)
        assert_close(run(tmp_path / f"m{suffix}", x), net_in_evaluation(model, x), rtol=1e-5, atol=1e-5)


def net_in_evaluation(model: nn.Module, x: Tensor) -> Tensor:
    model.eval()
    try:
        return model(x).detach()
    finally:
        model.train()


@pytest.mark.parametrize("branch", ["weak", "strong"])
def test_a_program_has_the_plain_models_tensors_and_no_others(tmp_path: Path, branch: str):
    model, plain = branched(), net()
    folded = renorm.fold(model, branch)
    write(folded, tmp_path / "m.pt2", PROBE)
    program = torch.export.load(tmp_path / "m.pt2")
    assert {k: v.shape for k, v in program.state_dict.items()} == {k: v.shape for k, v in plain.state_dict().items()}
    assert not program.constants
    plain.load_state_dict(program.state_dict)
    model.eval()
    with renorm.route(model, branch):
        assert_close(net_in_evaluation(plain, PROBE), model(PROBE).detach())


def test_onnx_has_no_more_numbers_than_the_plain_model(tmp_path: Path):
    write(renorm.fold(branched(), "strong"), tmp_path / "m.onnx", PROBE)
    onnx.checker.check_model(tmp_path / "m.onnx", full_check=True)
    tensors = onnx.load(tmp_path / "m.onnx").graph.initializer
    plain = {name: tuple(t.shape) for name, t in net().state_dict().items() if t.is_floating_point()}
    sizes = {t.name: math.prod(t.dims) for t in tensors if t.data_type == onnx.TensorProto.FLOAT}
    assert sum(sizes.values()) <= sum(map(math.prod, plain.values()))
    assert len(sizes) <= len(plain)
    assert all(tuple(t.dims) == plain[t.name] for t in tensors if t.name in plain)
    assert not any(t.external_data for t in tensors)
    assert [p.name for p in tmp_path.iterdir()] == ["m.onnx"]


def test_onnx_names_its_input_output_and_batch(tmp_path: Path):
    write(net(), tmp_path / "m.onnx", PROBE)
    graph = onnx.load(tmp_path / "m.onnx").graph
    dims = [[d.dim_param or d.dim_value for d in v.type.tensor_type.shape.dim] for v in (*graph.input, *graph.output)]
    assert [v.name for v in (*graph.input, *graph.output)] == ["images", "logits"]
    assert dims == [["batch", 3, SIZE, SIZE], ["batch", 2]]


def test_both_formats_say_what_they_are(tmp_path: Path):
    about = {"classes": ["cat", "dög"], "bank": "weak", "std": [0.25, 0.5, 0.25]}
    write(net(), tmp_path / "m.pt2", PROBE, about=about)
    write(net(), tmp_path / "m.onnx", PROBE, about=about)
    extra = {"renorm.json": ""}
    torch.export.load(tmp_path / "m.pt2", extra_files=extra)
    expected = {**about, "versions": {"renorm": renorm.__version__, "torch": torch.__version__}}
    assert json.loads(extra["renorm.json"]) == expected
    found = {p.key: p.value for p in onnx.load(tmp_path / "m.onnx").metadata_props if p.key.startswith("renorm.")}
    assert found.pop("renorm.bank") == "weak"
    assert {key.removeprefix("renorm."): json.loads(v) for key, v in found.items()} | {"bank": "weak"} == expected


@pytest.mark.parametrize("suffix", FORMATS)
def test_the_normalization_can_be_part_of_the_program(tmp_path: Path, suffix: str):
    mean, std, plain = (0.1, 0.2, 0.3), (0.5, 0.25, 0.125), net()
    write(Normalized(plain, mean, std), tmp_path / f"m{suffix}", PROBE)
    x = (PROBE.double() - torch.tensor(mean, dtype=torch.float64)[:, None, None]) / torch.tensor(std)[:, None, None]
    assert_close(run(tmp_path / f"m{suffix}", PROBE), net_in_evaluation(plain, x.float()), rtol=1e-4, atol=1e-5)
    assert Normalized(plain, mean, std).state_dict().keys() == {f"model.{key}" for key in plain.state_dict()}


def test_a_program_runs_where_there_is_no_renorm(tmp_path: Path):
    write(renorm.fold(branched(), "weak"), tmp_path / "m.pt2", PROBE)
    names = zipfile.ZipFile(tmp_path / "m.pt2").namelist()
    assert not any("renorm" in name for name in names if not name.endswith("extra/renorm.json"))
    code = (
        "import sys; sys.modules['renorm'] = None\nimport torch\n"
        f"print(tuple(torch.export.load({str(tmp_path / 'm.pt2')!r}).module()(torch.zeros(3, 3, {SIZE}, {SIZE})).shape))"
    )
    result = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "(3, 2)"


def test_several_outputs_are_compared_each(tmp_path: Path):
    class Two(nn.Module):
        def forward(self, x: Tensor) -> dict[str, Tensor]:
            return {"a": x.sum((1, 2, 3)), "b": 2 * x}

    assert write(Two(), tmp_path / "m.onnx", PROBE).error < 1e-6


class Counting(nn.Module):
    """Changes from call to call, which a program cannot."""

    def __init__(self) -> None:
        super().__init__()
        self.calls = 0

    def forward(self, x: Tensor) -> Tensor:
        self.calls += 1
        return x * self.calls


class Fixed(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.reshape(4, -1)


class Conditional(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x if x.sum() > 0 else -x


class Sorting(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return torch.linalg.qr(x)[0]


@pytest.mark.parametrize(
    ("model", "name", "error", "message"),
    [
        (net(), "m.pt", ValueError, r"cannot be exported as m.pt: .*is needed. Call it m.pt2 or m.onnx"),
        (
            branched(),
            "m.pt2",
            ValueError,
            r"has the branches weak, strong: a plain .* needed.*renorm.fold\(model, 'weak'",
        ),
        (
            Fixed(),
            "m.pt2",
            ValueError,
            r"Fixed cannot be traced.*constant \(4\).*must not depend.*Change such a reshape",
        ),
        (Conditional(), "m.onnx", ValueError, r"Conditional cannot be traced.*must not depend"),
        (Counting(), "m.pt2", RuntimeError, r"m.pt2 would not be equal.*0.0001 is allowed. Look for"),
        (Sorting(), "m.onnx", RuntimeError, r"cannot be written as ONNX.*must have all.*Write a .pt2"),
    ],
    ids=["suffix", "branches", "batch", "values", "changing", "operator"],
)
@pytest.mark.filterwarnings("ignore::UserWarning:torch.*")  # torch 2.15 warns before it raises
def test_what_cannot_be_exported_leaves_the_former_file(
    tmp_path: Path, model: nn.Module, name: str, error: type[Exception], message: str
):
    (tmp_path / name).write_text("former")
    with pytest.raises(error, match=message):
        write(model, tmp_path / name, PROBE)
    assert [(p.name, p.read_text()) for p in tmp_path.iterdir()] == [(name, "former")]


@pytest.mark.filterwarnings("ignore::FutureWarning:torch.*")
def test_a_program_is_not_exported_again(tmp_path: Path):
    model = nn.Sequential(torch.jit.script(nn.Linear(2, 2)))
    with pytest.raises(
        ValueError, match=r"0 is part of a scripted or traced model: .* Export the model it was made from"
    ):
        write(model, tmp_path / "m.pt2", torch.rand(4, 2))


def test_one_row_is_not_enough_to_see_that_the_batch_is_free(tmp_path: Path):
    with pytest.raises(ValueError, match=r"a probe of 1 rows: two or more.*torch.cat"):
        write(net(), tmp_path / "m.pt2", PROBE[:1])


def test_weights_that_one_onnx_file_cannot_hold(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    with torch.device("meta"):
        large = nn.Linear(2**15, 2**14)
    with pytest.raises(ValueError, match=r"2.0 GiB of weights in m.onnx: one ONNX file.*Write a .pt2.*external_data"):
        write(large, tmp_path / "m.onnx", PROBE)


@pytest.mark.parametrize("library", ["onnx", "onnxscript", "onnxruntime"])
def test_a_missing_library_is_named_before_anything_is_done(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, library: str
):
    monkeypatch.setitem(sys.modules, library, None)
    with pytest.raises(ImportError, match=rf"{library} is .* needs it. Install it with: pip install '\.\[export\]'"):
        write(net(), tmp_path / "m.onnx", PROBE)
    assert checked.check_name("m.pt2") == Path("m.pt2")


def test_tensors_of_several_branches_are_caught():
    model = branched()
    shapes = {name: tuple(t.shape) for name, t in model.state_dict().items()}
    with pytest.raises(RuntimeError, match=r"1.weight of shape \(10,\) where the model has \(5,\).*Fold"):
        checked.check_tensors(renorm.fold(model, "weak"), File(b"", shapes, lambda x: [x]))


NETWORKS = [
    *("resnet20", "wrn-10-1", "preact-resnet18", "vgg11-bn", "densenet-bc-10-6"),
    *("timm:regnety_002", "torchvision:mobilenet_v3_small"),
]


@pytest.mark.slow
@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("suffix", FORMATS)
def test_networks_split_and_folded(tmp_path: Path, name: str, suffix: str):
    model = create(name, num_classes=10)
    renorm.split_(model, ["weak", "strong"])
    x = torch.randn(4, 3, 64, 64)
    with torch.no_grad(), renorm.route(model, "weak", "strong"):
        model(x)
    folded = renorm.fold(model, "strong", probe=x)
    write(folded, tmp_path / f"m{suffix}", x)
    assert_close(run(tmp_path / f"m{suffix}", x), net_in_evaluation(folded, x), rtol=1e-4, atol=1e-4)
