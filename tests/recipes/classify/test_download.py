from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from renorm.cli.arguments import parse
from renorm.data import cifar
from renorm.models import Classifier
from renorm.recipes import NamedModel
from renorm.recipes.classify import Options, configured, read
from tests.data import archives


@pytest.fixture(autouse=True)
def fetched(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[Path]:
    """Where archives were put, in place of a network."""
    content = archives.publish(
        monkeypatch, "cifar10", {name: archives.pickled(value) for name, value in archives.cifar10().items()}
    )
    found: list[Path] = []

    def fetch(url: str, root: str, filename: str, md5: str) -> None:
        if not Path(root, filename).exists():
            found.append(archives.write(Path(root, filename), content))

    monkeypatch.setattr("torchvision.datasets.utils.download_url", fetch)
    monkeypatch.setenv(cifar.HOME, str(tmp_path))
    return found


def test_a_configuration_fetches_what_it_names_if_asked(fetched: list[Path], tmp_path: Path):
    with pytest.raises(FileNotFoundError, match=r"Fetch it with --download"):
        read(configured(data="cifar10"))
    train, test = read(configured(data="cifar10", download=True))
    assert (len(train), len(test)) == (20, 4)
    assert fetched == [tmp_path / "cifar-10-python.tar.gz"]
    assert len(read(configured(data="digits", test="cifar10"))[1]) == 4


def test_nothing_else_can_be_fetched():
    with pytest.raises(ValueError, match=r"download for digits: only cifar10 and cifar100 .*Leave it out"):
        read(configured(data="digits", download=True))


@pytest.mark.parametrize("command", ["train", "evaluate runs/x"])
def test_commands_take_the_option(command: str):
    parsed: Any = parse([*command.split(), "--download"]).command
    assert getattr(parsed, "options", None) == Options(download=True) or parsed.source.download


def test_an_opened_model_fetches_its_data(fetched: list[Path]):
    model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(3 * 32 * 32, 10))
    named = NamedModel(Classifier(model, (0, 0, 0), (1, 1, 1), size=32), about={"config": {"data": "cifar10"}})
    with pytest.raises(FileNotFoundError, match="--download"):
        named.images("cifar10")
    asked = replace(named, download=True)
    assert asked.config.source.download
    assert len(asked.images("cifar10")) == 4
    assert len(asked.images("digits")) == 450
    assert len(fetched) == 1
