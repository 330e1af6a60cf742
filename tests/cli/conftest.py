from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import pytest
from torch import Tensor

from renorm.cli import main
from renorm.data.splits import indices_of


class Result(NamedTuple):
    status: int
    out: str
    err: str


Command = Callable[..., Result]
TRAIN = ("train", "--model", "resnet8", "--epochs", "1", "--batch", "64", "--num-workers", "0")


@pytest.fixture
def renorm_command(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Command:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("RENORM_DEBUG", raising=False)
    monkeypatch.setenv("COLUMNS", "200")

    def run(*arguments: object) -> Result:
        capsys.readouterr()
        status = main([str(argument) for argument in arguments])
        captured = capsys.readouterr()
        return Result(status, captured.out, captured.err)

    return run


@contextmanager
def few_digits() -> Iterator[None]:
    """Of the digits to train on there is every fourth: commands take 10 small steps."""

    def fewer(labels: Tensor, split: str, holdout: float) -> Tensor:
        found = indices_of(labels, split, holdout)
        return found[::4] if split == "train" else found

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("renorm.data.digits.indices_of", fewer)
        yield


@pytest.fixture
def drawn() -> None:
    """For tests that read what is in a chart."""


@pytest.fixture(autouse=True)
def quick(trained: Path, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Few images, and charts that are made but not drawn: the run that all share has drawn them, as tests of pages do."""
    if "drawn" not in request.fixturenames:
        monkeypatch.setattr("renorm.report.svg.svg", lambda chart: f"<!-- {chart.name} -->")
    with few_digits():
        yield


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of one epoch on the digits; tests that write into it copy it first."""
    folder = tmp_path_factory.mktemp("runs") / "run"
    with few_digits():
        assert main([*TRAIN, "--out", str(folder), "--table-images", "40"]) == 0
    return folder


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """A folder of labelled images, ten classes of four."""
    import torch
    from PIL import Image

    for label in range(10):
        (tmp_path / "photos" / str(label)).mkdir(parents=True)
        for i in range(4):
            pixels = torch.randint(256, (16, 16, 3), dtype=torch.uint8).numpy()
            Image.fromarray(pixels).save(tmp_path / "photos" / str(label) / f"{i}.png")
    return tmp_path / "photos"


def some_classes(folder: Path) -> Path:
    """A folder of three of ten classes."""
    import torch
    from PIL import Image

    for name in ("2", "5", "9"):
        (folder / name).mkdir(parents=True)
        for i in range(3):
            pixels = torch.randint(256, (16, 16, 3), dtype=torch.uint8)
            Image.fromarray(pixels.numpy()).save(folder / name / f"{i}.png")
    return folder
