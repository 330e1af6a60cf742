"""Each study trains, evaluates and keeps an arm, with two steps in place of many; what is finished is not made again."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple

import pytest
import sklearn.datasets

import experiments.adversarial.study
import experiments.adversarial.summary
import experiments.domains.study
import experiments.domains.summary
import experiments.exchange.study
import experiments.exchange.summary
import experiments.split_claim.study
import experiments.split_claim.summary
from experiments import arms
from renorm.cli import main
from tests.data.pictures import structs, write_parquet

FEW_DIGITS = 180
SHORT = {"train": ["--epochs", "1", "--num-workers", "0"], "evaluate": ["--num-images", "16"]}


class Short(NamedTuple):
    """An arm of a study, what is trained with, and the banks and columns of its table."""

    study: Any
    setting: str
    arm: str
    batch: int
    banks: set[str]
    columns: set[str]


STUDIES = {
    "adversarial": Short(
        experiments.adversarial.study, "digits", "SaAuxBN", 128, {"adv", "clean"}, {"clean", "pgd:10", "pgd:20"}
    ),
    "domains": Short(
        experiments.domains.study,
        "pacs-wrn-10-1",
        "sandwich-without-photo",
        32,
        {"art_painting", "cartoon", "unknown", "adapted@art_painting", "adapted@cartoon", "adapted@unknown"},
        {"art_painting", "cartoon", "photo"},
    ),
    "exchange": Short(
        experiments.exchange.study, "digits", "split-both", 128, {"weak", "strong"}, {"clean", "corrupted"}
    ),
    "split_claim": Short(
        experiments.split_claim.study,
        "digits",
        "split",
        128,
        {"weak", "strong", "weak@weak", "clean@strong", "weak:0.75+strong:0.25"},
        {"clean", "weak", "strong", "corrupted"},
    ),
}


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Commands of studies run here, shortened, and are noted."""
    noted = []
    digits: Any = sklearn.datasets.load_digits()
    few = SimpleNamespace(target=digits.target[:FEW_DIGITS], images=digits.images[:FEW_DIGITS])
    monkeypatch.setattr(sklearn.datasets, "load_digits", lambda: few)

    def renorm(command: str, *arguments: str, threads: int) -> None:
        given = [*arguments, *SHORT[command]] if "--data" not in arguments or command == "train" else list(arguments)
        noted.append(command)
        assert main([command, *given]) == 0

    monkeypatch.setattr(arms, "renorm", renorm)
    return noted


def data(folder: Path) -> Path:
    """Files of images, one a domain."""
    for number, name in enumerate(experiments.domains.study.DOMAINS):
        columns = {
            "image": structs([(20 * i + 40 * number) % 200 for i in range(40)], side=16),
            "label": [i % 2 for i in range(40)],
            "domain": [name] * 40,
        }
        write_parquet(folder / f"{name}.parquet", columns, {"label": ["cat", "dog"]})
    return folder


@pytest.mark.parametrize("name", STUDIES)
def test_an_arm_of_a_study(name: str, tmp_path: Path, calls: list[str], monkeypatch: pytest.MonkeyPatch):
    short = STUDIES[name]
    train = short.study.STUDY.train
    study = replace(short.study.STUDY, folder=tmp_path, train=lambda cell: [*train(cell), "--batch", str(short.batch)])
    options = ["--data", str(data(tmp_path / "data"))] if name == "domains" else []
    given = ["study.py", short.setting, str(tmp_path / "runs"), "--arms", short.arm, "--seeds", "0", *options]
    monkeypatch.setattr(sys, "argv", given)
    study.main(None)
    table = arms.read(tmp_path / "results" / short.setting)
    assert {arm for arm, _ in table} == {short.arm}
    assert {bank for _, bank in table} >= short.banks
    assert {column for seeds in table.values() for column in seeds[0]} == short.columns
    made = len(calls)
    assert made >= 2
    study.main(None)
    assert len(calls) == made
