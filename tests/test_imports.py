"""Imports go one way, `import renorm` loads nothing, and its first name torch and safetensors only."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

import renorm
from tests.conftest import ROOT

SOURCE = ROOT / "src" / "renorm"
ROOMS = (  # each imports earlier ones only
    "version",
    "extras",
    "files",
    "notice",
    "progress",
    "seeds",
    "functional",
    "routing",
    "layers",
    "surgery",
    "banks",
    "adapt",
    "mix",
    "attacks",
    "corruptions",
    "diagnosis",
    "data",
    "models",
    "shifts",
    "metrics",
    "evaluate",
    "export",
    "train",
    "testing",
    "report",
    "recipes",
    "cli",
    "__main__",
)
OPTIONAL = (
    "accelerate",
    "torchvision",
    "timm",
    "sklearn",
    "PIL",
    "pyarrow",
    "jinja2",
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
    """The dotted names that a file imports of renorm; those of ``TYPE_CHECKING`` blocks too."""
    names = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "relative imports hide their direction"
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return {name for name in names if name.split(".")[0] == "renorm"}


def against_the_order(room: str, source: str) -> set[str]:
    """What a file of ``room`` imports from rooms that come after it."""
    rooms = {name.split(".")[1] for name in imported(source) if "." in name}
    return {name for name in rooms if name in ROOMS and ROOMS.index(name) > ROOMS.index(room)}


def room_of(path: Path) -> str:
    return path.relative_to(SOURCE).parts[0].removesuffix(".py")


FILES = [path for path in sorted(SOURCE.rglob("*.py")) if path != SOURCE / "__init__.py"]


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(SOURCE)))
def test_imports_go_one_way(path: Path):
    assert room_of(path) in ROOMS, f"{room_of(path)} has no place in the order of imports: add it to ROOMS"
    assert not against_the_order(room_of(path), path.read_text())


def test_the_order_is_enforced():
    assert against_the_order("functional", "from renorm import layers") == {"layers"}
    assert against_the_order("layers", "def f():\n    from renorm.surgery.fold import fold") == {"surgery"}
    assert not against_the_order("surgery", "from renorm.layers import split")


def of_renorm_itself(source: str) -> set[str]:
    """What a file imports of the package itself, whose names are there for users: rooms import rooms."""
    return {name for name in imported(source) if name == "renorm" or name.split(".")[1] not in (*ROOMS, "__version__")}


def test_rooms_import_rooms():
    found = {path.relative_to(SOURCE).as_posix() for path in FILES if of_renorm_itself(path.read_text())}
    assert not found, "import what these need from the rooms that have it"


def test_renorm_itself_is_seen():
    assert of_renorm_itself("def f():\n    import renorm") == {"renorm"}
    assert of_renorm_itself("from renorm import Bank, metrics") == {"renorm.Bank"}
    assert not of_renorm_itself("from renorm import extras, metrics\nfrom renorm.banks import Bank")


PARTS = ("src", "tests", "experiments", "benchmarks", "examples")


def missing(source: str) -> set[str]:
    """What a file imports of renorm that is neither a module nor a name at the top of one."""
    return {name for name in imported(source) if not there(name)}


def there(name: str) -> bool:
    if file_of(name):
        return True
    module, _, last = name.rpartition(".")
    return (file := file_of(module)) is not None and (module == "renorm" or last in names_in(file))


def file_of(module: str) -> Path | None:
    place = ROOT / "src" / Path(*module.split("."))
    return next((file for file in (place.with_suffix(".py"), place / "__init__.py") if file.is_file()), None)


@cache
def names_in(file: Path) -> set[str]:
    """Names that a module defines or imports, wherever in it."""
    found = set()
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            found.add(node.name)
        elif isinstance(node, ast.Import | ast.ImportFrom):
            found |= {alias.asname or alias.name for alias in node.names}
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            found.add(node.id)
    return found


@pytest.mark.parametrize("part", PARTS)
def test_what_is_imported_of_renorm_is_there(part: str):
    files = {path.relative_to(ROOT).as_posix(): missing(path.read_text()) for path in (ROOT / part).rglob("*.py")}
    assert files
    assert not {name: lost for name, lost in files.items() if lost}


def test_what_has_moved_is_missed():
    assert missing("from renorm.banks.nowhere import Bank") == {"renorm.banks.nowhere.Bank"}
    assert missing("def f():\n    from renorm.banks import Bunk") == {"renorm.banks.Bunk"}
    assert not missing("import renorm.banks\nfrom renorm import Bank\nfrom renorm.banks import Bank")


def past_the_door(room: str, source: str) -> set[str]:
    """Modules inside other rooms that a file of ``room`` imports from, past what the room's ``__init__`` gives.

    A package within a room has a door of its own.
    """
    return {inner for name in imported(source) if (inner := inside(name)) and inner.split(".")[0] != room}


def inside(name: str) -> str:
    """The module within a room that an imported name is taken from; nothing where it comes through the door."""
    parts = name.split(".")[1:]
    for length in range(2, len(parts) + 1):
        module = SOURCE.joinpath(*parts[:length])
        if module.with_suffix(".py").is_file():
            through = length == len(parts) and parts[-1] in names_in(module.parent / "__init__.py")
            return "" if through else ".".join(parts[:length])
    return ""


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(SOURCE)))
def test_a_room_has_one_way_in(path: Path):
    found = past_the_door(room_of(path), path.read_text())
    assert not found, "the room of each is to give what others need: export it there"


def test_the_door_is_seen():
    assert past_the_door("adapt", "from renorm.banks.bank import Bank") == {"banks.bank"}
    assert past_the_door("cli", "def f():\n    from renorm.report import svg") == {"report.svg"}
    assert not past_the_door("adapt", "from renorm.banks import Bank, measure")
    assert not past_the_door("banks", "from renorm.banks.bank import Bank")
    assert not past_the_door("cli", "from renorm.recipes.classify import Config\nfrom renorm import extras")


def public_types(source: str) -> list[str]:
    """Names of a module's public classes, and of other types that it names."""
    found = []
    for node in ast.parse(source).body:
        if isinstance(node, ast.ClassDef):
            found.append(node.name)
        elif isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
            found += [name for name in (node.targets[0].id,) if name[0].isupper() and not name.isupper()]
    return [name for name in found if not name.startswith("_")]


def test_no_two_public_types_share_a_name():
    files: dict[str, list[str]] = {}
    for path in FILES:
        for name in public_types(path.read_text()):
            files.setdefault(name, []).append(str(path.relative_to(SOURCE)))
    shared = {name: each for name, each in files.items() if len(each) > 1}
    assert not {name: each for name, each in shared.items() if not of_recipes(each)}


def of_recipes(files: list[str]) -> bool:
    """Whether a name is of what several recipes have, each once, and is called by its package: ``classify.Config``."""
    folders = {file.split("/")[1] for file in files if file.startswith("recipes/")}
    return len(folders) == len(files)


def test_recipes_are_told_apart_by_their_packages():
    assert of_recipes(["recipes/classify/config.py", "recipes/search/config.py"])
    assert not of_recipes(["recipes/classify/config.py", "recipes/classify/recipe.py"])
    assert not of_recipes(["recipes/classify/config.py", "evaluate/methods.py"])


def test_types_are_seen():
    assert public_types("class A: ...\nclass _B: ...\nLabels = int | str\nMANY = 3\ncell = 1") == ["A", "Labels"]


def python(code: str, *path: Path) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(map(str, [*path, ROOT / "src"]))}
    return subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False)


def loaded_after(code: str, modules: tuple[str, ...]) -> str:
    run = python(f"import sys, renorm; {code}; print(sorted(set(sys.modules) & set({modules!r})))")
    assert run.returncode == 0, run.stderr
    return run.stdout.strip()


def test_importing_renorm_loads_nothing():
    assert loaded_after("renorm.__version__, dir(renorm)", ("torch", "safetensors", "numpy", *OPTIONAL)) == "[]"


def test_the_first_name_loads_torch_and_safetensors_only():
    assert loaded_after("renorm.adapt_, renorm.Adapter, renorm.split_, renorm.MomentExchange", OPTIONAL) == "[]"


def test_every_public_name_is_there():
    for name in renorm.__all__:
        assert getattr(renorm, name) is not None
    with pytest.raises(AttributeError, match="has no attribute 'split'"):
        renorm.split  # noqa: B018


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
    assert "pip install '.[" in run.stderr
