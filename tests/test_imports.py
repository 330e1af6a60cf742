"""Imports go one way, and `import renorm` needs torch and safetensors only."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import ROOT

SOURCE = ROOT / "src" / "renorm"
LAYERS = (
    {"extras", "files", "kernels", "seeds"},
    {"functional"},
    {"routing"},
    {"layers"},
    {"surgery", "banks"},
    {"corruptions", "attacks", "metrics", "mix"},
    {"data", "models", "export"},
    {"recipes", "evaluate", "stream"},
    {"report"},
    {"cli", "__main__"},
)
LEVEL = {name: level for level, names in enumerate(LAYERS) for name in names}
OPTIONAL = (
    "torchvision",
    "timm",
    "sklearn",
    "PIL",
    "pyarrow",
    "plotly",
    "rich",
    "tyro",
    "tensorboard",
    "torchmetrics",
    "matplotlib",
    "onnx",
    "onnxscript",
    "onnxruntime",
)


def imported(source: str) -> set[str]:
    """The parts of renorm (first name after ``renorm.``) that a file imports; ``TYPE_CHECKING`` blocks count too."""
    names = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "relative imports hide their direction"
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return {name.split(".")[1] for name in names if name.startswith("renorm.")}


def against_the_order(part: str, source: str) -> set[str]:
    """What a file of ``part`` imports from a part that stands above it."""
    return {name for name in imported(source) if LEVEL.get(name, -1) > LEVEL[part]}


FILES = [path for path in sorted(SOURCE.rglob("*.py")) if path != SOURCE / "__init__.py"]


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(SOURCE)))
def test_imports_go_one_way(path: Path):
    part = path.relative_to(SOURCE).parts[0].removesuffix(".py")
    assert part in LEVEL, f"{part} has no place in the order of imports: add it to LAYERS"
    assert not against_the_order(part, path.read_text())


def test_the_order_is_enforced():
    assert against_the_order("functional", "from renorm import layers") == {"layers"}
    assert against_the_order("layers", "def f():\n    from renorm.surgery.fold import fold") == {"surgery"}
    assert not against_the_order("surgery", "from renorm.layers import split")


def python(code: str, *path: Path) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(map(str, [*path, ROOT / "src"]))}
    return subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False)


def test_importing_renorm_loads_torch_and_safetensors_only():
    run = python(f"import sys, renorm; print(sorted(set(sys.modules) & set({OPTIONAL!r})))")
    assert run.returncode == 0, run.stderr
    assert run.stdout.strip() == "[]"


def fake(folder: Path, name: str, body: str) -> None:
    (folder / name).mkdir()
    (folder / name / "__init__.py").write_text(body)


@pytest.mark.parametrize(
    ("library", "body"),
    [
        ("torchvision", "raise ModuleNotFoundError(\"No module named 'torchvision'\")"),
        ("torchvision", "raise RuntimeError('operator torchvision::nms does not exist')"),
        ("timm", "raise RuntimeError('broken')"),
    ],
    ids=["torchvision missing", "torchvision broken", "timm broken"],
)
def test_an_optional_library_missing_or_broken(tmp_path: Path, library: str, body: str):
    fake(tmp_path, library, body)
    code = (
        "import torch, renorm\n"
        "model = renorm.models.create('resnet20')\n"
        "renorm.split_(model, ['weak', 'strong'])\n"
        "with renorm.route(model, 'weak'): print(model.eval()(torch.zeros(2, 3, 8, 8)).shape)\n"
        f"renorm.models.create('{library}:resnet18')\n"
    )
    run = python(code, tmp_path)
    assert run.stdout.strip() == "torch.Size([2, 10])", run.stderr
    assert "ImportError" in run.stderr
    assert "pip install 'renorm[" in run.stderr
